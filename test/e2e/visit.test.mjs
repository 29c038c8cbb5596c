// A visit by printed links: waiting room, call, screen share, leaving and coming back.
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build, startDev, until } from './lib/wardline.mjs';
import { arrive, launch, visit } from './lib/browser.mjs';

const screenshots = process.env.WARDLINE_SCREENSHOTS
  || join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'build', 'screenshots');
mkdirSync(screenshots, { recursive: true });

before(build);

test('provider, patient and interpreter have a visit', { timeout: 180_000 }, async (t) => {
  const dev = await startDev(t);
  assert.ok(dev.readyMs < 3000, `links printed after ${dev.readyMs} ms`);
  const browser = await launch(t);
  const provider = await arrive(browser, dev.links.provider);
  const patient = await arrive(browser, dev.links.patient, { viewport: { width: 360, height: 740 } });
  const interpreter = await arrive(browser, dev.link('interpreter', 'interpreter-1', 'Ida Interpreter'));
  const everyone = { 'provider-1': provider, 'patient-1': patient, 'interpreter-1': interpreter };

  await until('the picture in the lobby', () => provider.page.locator('.preview video').evaluate((video) => video.videoWidth > 0));
  await provider.page.screenshot({ path: join(screenshots, 'lobby-desktop.png') });

  await t.test('the token leaves the address bar and nothing is asked of third parties', async () => {
    assert.equal(new URL(patient.page.url()).hash, '');
    for (const url of patient.requests) assert.equal(new URL(url).host, new URL(dev.url).host);
  });

  await t.test('the patient waits until admitted', async () => {
    await provider.join();
    await provider.state('call');
    await patient.join();
    await patient.state('waiting');
    await patient.page.screenshot({ path: join(screenshots, 'waiting-phone.png') });
    assert.equal((await patient.stats()).length, 0, 'no media before admission');
    await provider.page.locator('[data-testid="admit-button"][data-participant="patient-1"]').click();
    await patient.state('call');
    await interpreter.join();
    await interpreter.state('waiting');
    await provider.page.locator('[data-testid="admit-button"][data-participant="interpreter-1"]').click();
    await interpreter.state('call');
  });

  await t.test('everybody sees and hears everybody', async () => {
    for (const [me, person] of Object.entries(everyone)) {
      for (const other of Object.keys(everyone)) {
        if (other === me) continue;
        await person.sees(other);
        await person.hears(other);
      }
    }
    await provider.page.screenshot({ path: join(screenshots, 'call-desktop.png') });
    await patient.page.screenshot({ path: join(screenshots, 'call-phone.png') });
  });

  await t.test('names come from the tokens', async () => {
    await patient.page.locator('[data-testid="tile"][data-participant="interpreter-1"]', { hasText: 'Ida Interpreter' }).first().waitFor();
  });

  await t.test('a muted microphone is shown to the others', async () => {
    await interpreter.get('mute-button').click();
    await until('muted mark', () => patient.page.locator('[data-testid="tile"][data-participant="interpreter-1"][data-muted="true"]').count());
    await interpreter.get('mute-button').click();
    await until('no muted mark', async () => !(await patient.page.locator('[data-testid="tile"][data-participant="interpreter-1"][data-muted="true"]').count()));
  });

  await t.test('screen share reaches the others and ends', async () => {
    await provider.get('screen-button').click();
    await patient.sees('provider-1', 'screen');
    await provider.get('screen-button').click();
    await until('screen tile goes', async () => !(await patient.page.locator('[data-testid="tile"][data-source="screen"]').count()));
    await patient.sees('provider-1');
  });

  await t.test('the patient leaves and comes back without waiting again', async () => {
    await patient.get('leave-button').click();
    await patient.state('ended');
    await until('tile goes', async () => !(await provider.page.locator('[data-testid="tile"][data-participant="patient-1"]').count()));
    const back = await arrive(browser, dev.links.patient);
    await back.join();
    await back.state('call');
    await back.sees('provider-1');
    await provider.sees('patient-1');
    await provider.hears('patient-1');
  });

  await t.test('the quality timeline has everybody', async () => {
    await until('stats in metrics', async () => {
      const admin = dev.lines.join('\n').match(/http:\/\/[\d.:]+\/metrics/)[0];
      return (await (await fetch(admin)).text()).includes('wardline_client_rtt_seconds_count');
    }, 20_000);
  });

  await t.test('the provider ends the visit for everybody', async () => {
    await provider.get('end-button').click();
    await provider.page.getByTestId('end-confirm').click();
    await interpreter.state('ended');
    assert.equal(await interpreter.get('end-screen').getAttribute('data-code'), 'ended');
    await interpreter.page.screenshot({ path: join(screenshots, 'ended-desktop.png') });
  });

  const stopped = await dev.stop();
  assert.equal(stopped.code, 0);
  assert.ok(stopped.ms < 5000, `stopped in ${stopped.ms} ms`);
});

for (const transport of ['udp', 'tcp', 'tls']) {
  test(`a visit relayed over TURN/${transport.toUpperCase()}`, { timeout: 120_000 }, async (t) => {
    const dev = await startDev(t);
    const browser = await launch(t);
    const query = `?ice=relay&turn=${transport}`;
    const provider = await arrive(browser, dev.links.provider, { query });
    const patient = await arrive(browser, dev.links.patient, { query });
    await visit(provider, { 'patient-1': patient });
    await provider.sees('patient-1');
    await patient.sees('provider-1');
    await patient.hears('provider-1');
    for (const entry of await patient.stats()) assert.equal(entry.path, `relay-${transport}`);
  });
}
