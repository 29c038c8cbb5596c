// What a visit notices when the gateway is lost that its pages came from: it goes on at another one, of another region.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { build, startRegions, until } from './lib/wardline.mjs';
import { arrive, launch, visit } from './lib/browser.mjs';

before(build);

/** Two regions and a visit whose pages both came from the gateway in the east. */
async function visitInTheEast(t) {
  const world = await startRegions(t);
  const browser = await launch(t, { fps: 20 });
  const joins = [];
  const prepare = async ({ page }) => {
    page.on('websocket', (socket) => socket.on('framesent', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type === 'join') joins.push(message);
    }));
  };
  const provider = await arrive(browser, world.link('east', 'provider', 'provider-1'), { prepare });
  const patient = await arrive(browser, world.link('east', 'patient', 'patient-1'), { prepare });
  await visit(provider, { 'patient-1': patient });
  await provider.sees('patient-1');
  await patient.sees('provider-1');
  await patient.hears('provider-1');
  for (const person of [provider, patient]) await person.signalsAt(world.urls.east);
  return { world, provider, patient, joins };
}

test('pages measure the way to every region before they join', { timeout: 120_000 }, async (t) => {
  const { world, provider, patient, joins } = await visitInTheEast(t);
  assert.equal(joins.length, 2);
  for (const { rtt } of joins) assert.deepEqual(Object.keys(rtt).sort(), ['east', 'west']);
  for (const { requests, console } of [provider, patient]) {
    for (const url of Object.values(world.urls)) assert.ok(requests.includes(`${url}/v1/regions`), url);
    assert.deepEqual(console.filter((line) => /Content Security Policy|CORS/.test(line)), []);
  }
});

for (const [how, signal, within] of [['is killed', 'SIGKILL', 2000], ['falls silent', 'SIGSTOP', 5000]]) {
  test(`a gateway that ${how}: its pages go on at another one and media never stops`, { timeout: 120_000 }, async (t) => {
    const { world, provider, patient } = await visitInTheEast(t);
    await patient.watchGap('provider-1');
    world.gateways.east.kill(signal);
    const begin = performance.now();
    await Promise.all([provider, patient].map((person) => person.signalsAt(world.urls.west)));
    const resumed = performance.now() - begin;
    t.diagnostic(`resumed after ${Math.round(resumed)} ms`);
    assert.ok(resumed < within, `resumed after ${resumed} ms`);

    await provider.get('mute-button').click();
    await until('signaling works at the other gateway', () => patient.page.locator('[data-testid="tile"][data-participant="provider-1"][data-muted="true"]').count());
    await provider.get('mute-button').click();
    await patient.sees('provider-1');
    const gap = await patient.gap();
    t.diagnostic(`longest gap in received audio packets ${Math.round(gap)} ms`);
    assert.ok(gap < 1000, `audio gap ${gap} ms`); // a new leg takes longer; two browsers on two processors stall for half of it
    assert.deepEqual(await patient.legs(), [1], 'no new leg');
  });
}

for (const [how, signal, within] of [['are killed', 'SIGKILL', 6000], ['fall silent', 'SIGSTOP', 10_000]]) {
  test(`a gateway and the media server that ${how} together: the visit goes on elsewhere`, { timeout: 120_000 }, async (t) => {
    const { world, provider, patient } = await visitInTheEast(t);
    const [{ sfu, leg }] = await patient.page.evaluate(() => window.wardline.legs());
    await patient.watchGap('provider-1');
    world.gateways.east.kill(signal);
    world.sfus[sfu].kill(signal);
    const begin = performance.now();
    await Promise.all([[patient, 'provider-1'], [provider, 'patient-1']].map(([person, other]) => until(`${other} is seen again`, async () => {
      const now = await person.received(other, 'camera', 'video');
      return now && now.leg > leg && now.framesDecoded > 0;
    })));
    const gone = performance.now() - begin;
    t.diagnostic(`seen again after ${Math.round(gone)} ms`);
    assert.ok(gone < within, `seen again after ${gone} ms`);
    await patient.sees('provider-1');
    await patient.hears('provider-1');
    t.diagnostic(`longest gap in received audio packets ${Math.round(await patient.gap())} ms`);
    for (const person of [provider, patient]) {
      await person.signalsAt(world.urls.west);
      assert.notEqual((await person.page.evaluate(() => window.wardline.legs())).at(-1).sfu, sfu);
    }
  });
}
