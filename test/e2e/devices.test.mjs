// Cameras and microphones: changing them in the call, going without, and regions measured meanwhile.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { build, startDev, until } from './lib/wardline.mjs';
import { arrive, launch, meet } from './lib/browser.mjs';

before(build);

test('devices', { timeout: 180_000 }, async (t) => {
  const dev = await startDev(t);
  // The second of Chromium's fake cameras measures depth and gives no pictures; the third is a camera again.
  const browser = await launch(t, { cameras: 3 });

  await t.test('another camera is taken in the middle of the call without a new leg', async () => {
    const { provider, patient, close } = await meet(browser, dev, 'change');
    await patient.get('devices-button').click();
    const picker = patient.get('device-camera');
    await until('all cameras are listed', async () => (await picker.locator('option').count()) === 3);
    const used = () => patient.page.evaluate(() =>
      document.querySelector('[data-testid="self-view"] video').srcObject.getVideoTracks()[0].getSettings().deviceId);
    const before = await used();
    const options = await picker.locator('option').evaluateAll((all) => all.map(({ value }) => value));
    assert.equal(before, options[0]);
    const other = options[2];
    await picker.selectOption(other);
    await until('the other camera is in use', async () => (await used()) === other);
    await patient.page.getByRole('button', { name: 'Done' }).click();
    await provider.sees('patient-1');
    assert.equal(await picker.count(), 0, 'settings are closed');
    assert.deepEqual([await provider.legs(), await patient.legs()], [[1], [1]], 'no new leg');
    await close();
  });

  await t.test('what a phone call has stopped plays again when the page is back', async () => {
    const { patient, close } = await meet(browser, dev, 'called');
    const stopped = () => patient.page.evaluate(() => [...document.querySelectorAll('audio, video')].filter(({ paused }) => paused).length);
    assert.equal(await stopped(), 0);
    await patient.page.evaluate(() => {
      for (const media of document.querySelectorAll('audio, video')) media.pause();
      document.dispatchEvent(new Event('visibilitychange'));
    });
    await until('everything plays', async () => (await stopped()) === 0, 5000);
    await close();
  });

  await t.test('a camera that is off shows as off, and shows new pictures when it is on again', async () => {
    const { provider, patient, close } = await meet(browser, dev, 'off');
    await patient.get('camera-button').click();
    const off = provider.tile('patient-1', '.picture-off');
    await off.getByText('Camera off').waitFor();
    await until('no picture is left to see', () => off.locator('.picture').isHidden());
    await provider.hears('patient-1');
    await patient.get('camera-button').click();
    await off.waitFor({ state: 'detached' });
    await provider.sees('patient-1');
    assert.deepEqual([await provider.legs(), await patient.legs()], [[1], [1]], 'no new leg');
    await close();
  });

  await t.test('without permission the lobby says what to do, and joining still works', async () => {
    const strict = await launch(t, { allow: false });
    const person = await arrive(strict, dev.link('provider', 'provider-2', 'Dr. Denied'), { permissions: [] });
    await person.page.getByRole('alert').filter({ hasText: 'not allowed to use your camera or microphone' }).waitFor();
    await person.page.getByRole('button', { name: 'Try again' }).waitFor();
    for (const source of ['camera', 'microphone']) {
      assert.equal(await person.get(`device-${source}`).locator('option').innerText(), 'Not allowed yet');
    }
    assert.equal(await person.get('join-button').innerText(), 'Join without camera and microphone');
    await person.join();
    await person.state('call');
    await person.context.close();
  });

  await t.test('without a camera and with a microphone that is refused the lobby says which of the two can be helped', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      MediaDevices.prototype.getUserMedia = async (wanted) => {
        throw new DOMException('', wanted.video ? 'NotFoundError' : 'NotAllowedError');
      };
    });
    const person = await arrive(browser, dev.links.patient, { prepare });
    await person.page.getByRole('alert').filter({ hasText: 'not allowed to use your microphone.' }).waitFor({ timeout: 5000 });
    await person.context.close();
  });

  await t.test('in an app that has no camera for pages the lobby names another browser, not the connection', async () => {
    const prepare = ({ page }) => page.addInitScript(() => Object.defineProperty(navigator, 'mediaDevices', { value: undefined }));
    const person = await arrive(browser, dev.links.patient, { prepare });
    await person.page.getByRole('alert').filter({ hasText: 'in another browser' }).waitFor({ timeout: 5000 });
    await person.context.close();
  });

  await t.test('a browser without calls says so before anybody waits', async () => {
    const context = await browser.newContext({ ignoreHTTPSErrors: true });
    const page = await context.newPage();
    await page.addInitScript(() => { delete window.RTCPeerConnection; });
    await page.goto(dev.links.patient);
    await page.locator('[data-testid="end-screen"][data-code="no-webrtc"]').waitFor({ timeout: 5000 });
    await context.close();
  });

  await t.test('a page whose program does not come says what to do', async () => {
    const prepare = ({ page }) => page.route(/main\.js/, (route) => route.abort());
    const person = await arrive(browser, dev.links.patient, { prepare });
    await person.page.getByText('reload the page').waitFor({ timeout: 10_000 });
    await person.context.close();
  });

  await t.test('sharing that ends in the browser\'s own bar ends for everybody, and is said', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      const open = MediaDevices.prototype.getDisplayMedia;
      MediaDevices.prototype.getDisplayMedia = async function get(wanted) {
        window.shared = await open.call(this, wanted);
        return window.shared;
      };
      window.said = [];
      addEventListener('DOMContentLoaded', () => {
        const region = document.getElementById('announcer');
        new MutationObserver(() => window.said.push(region.textContent)).observe(region, { childList: true });
      });
    });
    const { provider, patient, close } = await meet(browser, dev, 'share', { provider: { prepare } });
    const said = (text) => until(text, () => provider.page.evaluate((wanted) => window.said.includes(wanted), text));
    await provider.get('screen-button').click();
    await patient.sees('provider-1', 'screen');
    await said('You are sharing your screen.');
    await provider.page.evaluate(() => {
      const [track] = window.shared.getVideoTracks();
      track.stop();
      track.dispatchEvent(new Event('ended')); // which a page's own stop() does not
    });
    await patient.page.locator('[data-testid="tile"][data-source="screen"]').waitFor({ state: 'detached' });
    assert.equal(await provider.get('screen-button').getAttribute('aria-pressed'), 'false');
    await said('You stopped sharing your screen.');
    await close();
  });

  await t.test('who joins before the browser has its answer is told what is missing', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      const answer = new Promise((resolve) => { window.deny = resolve; });
      MediaDevices.prototype.getUserMedia = async () => {
        await answer;
        throw new DOMException('', 'NotAllowedError');
      };
    });
    const person = await arrive(browser, dev.links.patient, { prepare });
    await person.join();
    await person.state('waiting');
    await person.page.evaluate(() => window.deny());
    await person.get('banner').filter({ hasText: 'not allowed to use your camera or microphone' }).waitFor();
    await person.context.close();
  });

  await t.test('a problem is over when another device works', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      const open = MediaDevices.prototype.getUserMedia;
      MediaDevices.prototype.getUserMedia = async function get(wanted) {
        if (wanted.audio && !wanted.audio.deviceId) throw new DOMException('', 'NotReadableError');
        return open.call(this, wanted);
      };
    });
    const person = await arrive(browser, dev.links.patient, { prepare });
    const alert = person.page.getByRole('alert').filter({ hasText: 'microphone is in use' });
    await alert.waitFor();
    await person.get('device-microphone').selectOption({ index: 1 });
    await alert.waitFor({ state: 'hidden' });
    await person.context.close();
  });

  await t.test('who left muted can check the microphone before coming back, and is muted again', async () => {
    const person = await arrive(browser, dev.link('provider', 'provider-4', 'Dr. Back'));
    await person.join();
    await person.state('call');
    await person.get('mute-button').click();
    await person.get('leave-button').click();
    await person.state('ended');
    await person.page.getByRole('button', { name: 'Join again' }).click();
    assert.equal(await person.page.evaluate(() => document.activeElement?.id), 'lobby-heading');
    await until('the bar moves', () => person.page.locator('.meter').evaluate((bar) => Number(bar.getAttribute('aria-valuenow')) > 0), 10_000);
    await person.join();
    await person.state('call');
    assert.equal(await person.get('mute-button').getAttribute('aria-pressed'), 'true');
    await person.context.close();
  });

  await t.test('the way to each region is measured before joining', async () => {
    const joins = [];
    const prepare = async ({ page }) => void page.on('websocket', (socket) =>
      socket.on('framesent', ({ payload }) => joins.push(JSON.parse(payload))));
    const person = await arrive(browser, dev.link('provider', 'provider-3', 'Dr. Near'), { prepare });
    await until('measured', () => person.requests.filter((url) => url.endsWith('/v1/regions')).length >= 4);
    await person.join();
    await person.state('call');
    const join = joins.find(({ type }) => type === 'join');
    const { regions } = await person.page.evaluate(async () => (await fetch('/v1/regions')).json());
    assert.deepEqual(Object.keys(join.rtt ?? {}), regions.map(({ region }) => region));
    for (const ms of Object.values(join.rtt)) assert.ok(ms >= 0 && ms <= 1000, `${ms} ms`);
    await person.context.close();
  });
});
