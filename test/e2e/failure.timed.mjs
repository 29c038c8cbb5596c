// What people notice when a part of Wardline fails: as little as possible.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { build, startDev, startProcesses, until } from './lib/wardline.mjs';
import { arrive, launch, visit } from './lib/browser.mjs';

before(build);

/** The component that hosts the visit: the one whose log says that it took the encounter. */
async function hostOf(person) {
  const legs = await person.page.evaluate(() => window.wardline.legs());
  return legs.at(-1).sfu;
}

test('a media server that falls silent: participants meet again on the other within 3 s', { timeout: 120_000 }, async (t) => {
  const world = await startProcesses(t);
  const browser = await launch(t, { fps: 20 });
  const provider = await arrive(browser, world.link('provider', 'provider-1'));
  const patient = await arrive(browser, world.link('patient', 'patient-1'));
  await visit(provider, { 'patient-1': patient });
  await provider.sees('patient-1');
  await patient.sees('provider-1');
  const host = await hostOf(patient);
  const before = (await patient.received('provider-1', 'camera', 'video')).leg;

  world.sfus[host].kill('SIGSTOP'); // no FIN, no close_notify: the kernel still acknowledges
  const begin = performance.now();
  for (const [person, other] of [[patient, 'provider-1'], [provider, 'patient-1']]) {
    await until(`${other} is seen again`, async () => {
      const now = await person.received(other, 'camera', 'video');
      return now && now.leg > before && now.framesDecoded > 0;
    }, 10_000);
  }
  const gap = performance.now() - begin;
  t.diagnostic(`seen again after ${Math.round(gap)} ms`);
  assert.ok(gap < 3000, `seen again after ${gap} ms`);
  await patient.sees('provider-1');
  await patient.hears('provider-1');
  assert.notEqual(await hostOf(patient), host);
});

test('a gateway that restarts: media never stops and clients resume within 2 s', { timeout: 120_000 }, async (t) => {
  const world = await startProcesses(t);
  const browser = await launch(t, { fps: 20 });
  const provider = await arrive(browser, world.link('provider', 'provider-1'));
  const patient = await arrive(browser, world.link('patient', 'patient-1'));
  await visit(provider, { 'patient-1': patient });
  await patient.sees('provider-1');
  await patient.hears('provider-1');

  await patient.watchGap('provider-1');
  world.gateway.kill('SIGKILL');
  await world.gateway.exited;
  await world.startGateway('gateway-1b');
  const begin = performance.now();
  for (const person of [patient, provider]) {
    await until('signaling resumes', () => person.page.evaluate(() => window.wardline.signal() === 'open'), 10_000);
  }
  const resumed = performance.now() - begin;
  t.diagnostic(`resumed ${Math.round(resumed)} ms after the gateway was back`);
  assert.ok(resumed < 2000, `resumed after ${resumed} ms`);
  await provider.get('mute-button').click();
  await until('signaling works across the restart', () => patient.page.locator('[data-testid="tile"][data-participant="provider-1"][data-muted="true"]').count());
  const gap = await patient.gap();
  t.diagnostic(`longest gap in received audio packets ${Math.round(gap)} ms`);
  assert.ok(gap < 1000, `audio gap ${gap} ms`); // a new leg takes longer; two browsers on two processors stall for half of it
  assert.equal((await patient.page.evaluate(() => window.wardline.legs())).at(-1).leg, 1, 'no new leg');
});

test('a relay that dies: whoever was on it is back over the next one within 15 s', { timeout: 120_000 }, async (t) => {
  const world = await startProcesses(t);
  const browser = await launch(t, { fps: 20 });
  const provider = await arrive(browser, world.link('provider', 'provider-1'));
  const patient = await arrive(browser, world.link('patient', 'patient-1'), { query: '?ice=relay&turn=udp' });
  await visit(provider, { 'patient-1': patient });
  await provider.sees('patient-1');
  await patient.sees('provider-1');

  world.turn.kill('SIGKILL');
  await world.turn.exited;
  const begin = performance.now();
  const stopped = await patient.received('provider-1', 'camera', 'video');
  assert.equal(stopped.path, 'relay-udp');
  world.startTurn(); // it knows nothing of the allocations that its predecessor had
  await until('the patient sees the provider again', async () => {
    const now = await patient.received('provider-1', 'camera', 'video');
    return now && Math.abs(now.packetsReceived - stopped.packetsReceived) > 20; // a new leg counts from zero
  }, 30_000);
  const gap = performance.now() - begin;
  t.diagnostic(`seen again after ${Math.round(gap)} ms`);
  assert.ok(gap < 15_000, `seen again after ${gap} ms`);
  await provider.sees('patient-1');
  await patient.hears('provider-1');
});

test('Ctrl-C tells participants', { timeout: 60_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t, { fps: 20 });
  const provider = await arrive(browser, dev.links.provider);
  await provider.join();
  await provider.state('call');
  const stopped = await dev.stop('SIGINT');
  assert.equal(stopped.code, 0);
  assert.ok(stopped.ms < 5000, `stopped in ${stopped.ms} ms`);
  await until('banner', () => provider.get('banner').isVisible());
});

test('a second join of one participant wins and the first is told', { timeout: 60_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t, { fps: 20 });
  const first = await arrive(browser, dev.links.provider);
  await first.join();
  await first.state('call');
  const second = await arrive(browser, dev.links.provider);
  await second.join();
  await second.state('call');
  await first.state('ended');
  assert.equal(await first.get('end-screen').getAttribute('data-code'), 'replaced');
});

test('a link of another installation is refused with what to do', { timeout: 60_000 }, async (t) => {
  const dev = await startDev(t);
  const other = await startDev(t);
  const browser = await launch(t, { fps: 20 });
  const link = new URL(dev.links.patient);
  link.hash = new URL(other.links.patient).hash;
  const lost = await arrive(browser, link.href);
  await lost.join();
  await lost.state('ended');
  assert.equal(await lost.get('end-screen').getAttribute('data-code'), 'token-unknown-key');
});
