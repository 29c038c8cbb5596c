// What those in a visit do to each other: ask to mute, lock, remove; and what they notice of each other.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { build, mintLink, startDev, until } from './lib/wardline.mjs';
import { arrive, launch, meet, visit } from './lib/browser.mjs';

before(build);

test('people', { timeout: 240_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t);

  await t.test('a mute request asks and never mutes by itself', async () => {
    const { provider, patient, close } = await meet(browser, dev, 'mute-request');
    const ask = provider.page.locator('[data-testid="ask-mute-button"][data-participant="patient-1"]');
    const dialog = patient.get('mute-request');
    await ask.click();
    await dialog.getByRole('button', { name: 'Not now' }).click();
    await dialog.waitFor({ state: 'detached' });
    assert.equal(await patient.get('mute-button').getAttribute('aria-pressed'), 'false');
    await patient.page.waitForFunction(() => !document.querySelector('dialog[open]'));

    await ask.click();
    await dialog.getByRole('button', { name: 'Mute' }).click();
    await provider.tile('patient-1', '[data-muted="true"]').waitFor();
    assert.equal(await patient.get('mute-button').getAttribute('aria-pressed'), 'true');
    await until('nothing is left to ask for', () => ask.isDisabled());

    await patient.get('mute-button').click();
    await provider.tile('patient-1', '[data-muted="false"]').waitFor();
    await provider.hears('patient-1');

    await patient.get('devices-button').click();
    await ask.click();
    const second = patient.page.getByRole('dialog', { name: 'Dr. Demo asks you to mute' });
    await second.waitFor({ timeout: 5000 });
    await provider.get('lock-button').click();
    await second.getByRole('status').filter({ hasText: 'The visit is locked.' }).waitFor({ timeout: 5000 });
    await second.getByRole('button', { name: 'Not now' }).click();
    await provider.get('lock-button').click();
    await patient.page.getByRole('dialog', { name: 'Camera and microphone' }).getByRole('status')
      .filter({ hasText: 'The visit is open again.' }).waitFor({ timeout: 5000 });
    await close();
  });

  await t.test('a locked visit lets nobody new in, and those who were in come back', async () => {
    const { provider, patient, link, close } = await meet(browser, dev, 'lock');
    await provider.get('lock-button').click();
    await until('the visit is locked', async () => (await provider.get('lock-button').getAttribute('aria-pressed')) === 'true');

    const stranger = await arrive(browser, link('family', 'family-1'));
    await stranger.join();
    await stranger.state('ended');
    assert.equal(await stranger.get('end-screen').getAttribute('data-code'), 'encounter-locked');
    assert.match(await stranger.get('end-screen').innerText(), /locked/);

    await patient.get('leave-button').click();
    await patient.state('ended');
    await patient.page.getByRole('button', { name: 'Join again' }).click();
    await patient.state('lobby');
    await patient.join();
    await patient.state('call');

    await provider.get('lock-button').click();
    await until('the visit is open', async () => (await provider.get('lock-button').getAttribute('aria-pressed')) === 'false');
    await stranger.page.getByRole('button', { name: 'Try again' }).click();
    await stranger.state('lobby');
    await stranger.join();
    await stranger.state('waiting');
    await Promise.all([close(), stranger.context.close()]);
  });

  await t.test('who is removed is told so, and the link works no longer', async () => {
    const { provider, patient, link, close } = await meet(browser, dev, 'remove');
    await provider.page.locator('[data-testid="remove-button"][data-participant="patient-1"]').click();
    await provider.page.getByTestId('remove-confirm').click();
    await patient.state('ended');
    assert.equal(await patient.get('end-screen').getAttribute('data-code'), 'removed');
    await provider.tile('patient-1').waitFor({ state: 'detached' });

    const again = await arrive(browser, link('patient', 'patient-1', 'Pat Demo'));
    await again.join();
    await again.state('ended');
    assert.equal(await again.get('end-screen').getAttribute('data-code'), 'participant-removed');
    await Promise.all([close(), again.context.close()]);
  });

  await t.test('somebody can be kept large', async () => {
    const { provider, patient, link, close } = await meet(browser, dev, 'pin');
    const pin = (participant) => provider.tile(participant).getByTestId('pin-button');
    const width = async (participant) => (await provider.tile(participant).boundingBox()).width;
    assert.equal(await pin('patient-1').isVisible(), false, 'one person is as large as can be');

    const interpreter = await arrive(browser, link('interpreter', 'interpreter-1', 'Ina Demo'));
    await interpreter.join();
    await provider.page.locator('[data-testid="admit-button"][data-participant="interpreter-1"]').click();
    await provider.sees('interpreter-1');
    assert.equal(await width('patient-1'), await width('interpreter-1'));

    await pin('patient-1').click();
    await until('the patient is large', async () => (await width('patient-1')) > 2 * (await width('interpreter-1')));
    assert.equal(await pin('patient-1').getAttribute('aria-pressed'), 'true');
    assert.equal(await provider.page.evaluate(() => document.activeElement?.getAttribute('aria-label')), 'Keep Pat Demo large');
    await provider.sees('patient-1');
    await provider.sees('interpreter-1');

    await provider.page.keyboard.press('Enter');
    await until('both are of one size', async () => (await width('patient-1')) === (await width('interpreter-1')));
    await pin('interpreter-1').click();
    await until('the interpreter is large', async () => (await width('interpreter-1')) > 2 * (await width('patient-1')));
    await interpreter.get('leave-button').click();
    await provider.tile('interpreter-1').waitFor({ state: 'detached' });
    await provider.sees('patient-1');
    assert.equal(await pin('patient-1').isVisible(), false);
    await Promise.all([close(), interpreter.context.close()]);
  });

  await t.test('on a small screen everybody can be kept large, and no longer', async () => {
    const { provider, patient, link, close } = await meet(browser, dev, 'phone', { patient: { viewport: { width: 390, height: 844 } } });
    const interpreter = await arrive(browser, link('interpreter', 'interpreter-1', 'Ina Demo'));
    await interpreter.join();
    await provider.page.locator('[data-testid="admit-button"][data-participant="interpreter-1"]').click();
    for (const participant of ['interpreter-1', 'provider-1']) {
      await patient.sees(participant);
      const pin = patient.tile(participant).getByTestId('pin-button');
      for (const pressed of ['true', 'false']) {
        await pin.click({ timeout: 5000 });
        assert.equal(await pin.getAttribute('aria-pressed'), pressed);
      }
    }
    await patient.page.setViewportSize({ width: 1280, height: 720 });
    assert.equal(await patient.page.evaluate(() => {
      const grid = document.querySelector('.grid');
      while (grid.childElementCount < 9) grid.append(grid.firstElementChild.cloneNode(true));
      for (const side of ['--columns', '--rows']) grid.style.setProperty(side, '3');
      const pin = grid.lastElementChild.querySelector('.pin');
      const { left, top, width, height } = pin.getBoundingClientRect();
      return pin.contains(document.elementFromPoint(left + width / 2, top + height / 2));
    }), true, 'the last of nine on a small laptop');
    await Promise.all([close(), interpreter.context.close()]);
  });

  await t.test('where the browser wants a tap before it plays anything, one tap on what says so starts everything', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      const { play } = HTMLMediaElement.prototype;
      const { setAttribute } = Element.prototype;
      HTMLMediaElement.prototype.play = function start() {
        const local = this.closest('[data-testid="self-view"], .preview') !== null;
        return window.tapped || local ? play.call(this) : Promise.reject(new DOMException('', 'NotAllowedError'));
      };
      Element.prototype.setAttribute = function set(name, value) {
        if (name !== 'autoplay') setAttribute.call(this, name, value);
      };
      addEventListener('click', ({ target }) => { window.tapped ||= target.closest('#banner') !== null; }, { capture: true });
    });
    const provider = await arrive(browser, mintLink(dev.data, 'tap', 'provider', 'provider-1'));
    const patient = await arrive(browser, mintLink(dev.data, 'tap', 'patient', 'patient-1'), { prepare });
    await visit(provider, { 'patient-1': patient });
    const button = patient.get('banner').getByRole('button', { name: 'Turn on picture and sound' });
    await button.waitFor();
    assert.equal(await patient.tile('provider-1').locator('video').evaluate(({ paused }) => paused), true);
    await button.press('Enter');
    await patient.page.waitForFunction(() => [...document.querySelectorAll('.tile video, audio')].every(({ paused }) => !paused));
    assert.equal(await patient.page.evaluate(() => document.activeElement.tagName), 'H1', 'the focus goes on in the visit');
    assert.equal(await patient.get('banner').isVisible(), false);
    await Promise.all([provider, patient].map(({ context }) => context.close()));
  });

  await t.test('a picture that is replaced twice in a row leaves nothing behind', async () => {
    const person = await arrive(browser, dev.links.patient);
    const left = await person.page.evaluate(async () => {
      const { Tile } = await import('/assets/js/tile.js');
      const tile = new Tile({ participant: 'p', role: 'patient', connected: true }, 'camera', () => {}, () => {});
      document.body.append(tile.element);
      const picture = () => navigator.mediaDevices.getUserMedia({ video: true }).then((stream) => stream.getVideoTracks()[0]);
      const tracks = await Promise.all([picture(), picture(), picture()]);
      const seen = () => new Promise((resolve) => { tile.resized = resolve; });
      tile.show(tracks[0]);
      await seen();
      tile.show(tracks[1]);
      tile.show(tracks[2]);
      const { video } = tile;
      await new Promise((resolve) => { new MutationObserver(() => !video.classList.contains('pending') && resolve()).observe(video, { attributes: true }); });
      return [...tile.picture.children].map((child) => tracks.indexOf(child.srcObject.getTracks()[0]));
    });
    assert.deepEqual(left, [2]);
    await person.context.close();
  });

  await t.test('the screen stays on from the waiting room to the end', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      window.lit = 0;
      WakeLock.prototype.request = async () => {
        window.lit += 1;
        return { released: false, release: async () => { window.lit -= 1; } };
      };
    });
    const person = await arrive(browser, dev.links.patient, { prepare });
    const lit = (count) => until(`${count} locks`, async () => (await person.page.evaluate(() => window.lit)) === count);
    await person.join();
    await person.state('waiting');
    await lit(1);
    await person.get('leave-button').click();
    await person.state('ended');
    await lit(0);
    await person.context.close();
  });

  await t.test('who cannot reach the server is told so', async () => {
    const prepare = ({ page }) => page.routeWebSocket(/\/v1\/signal$/, (socket) => socket.close());
    const person = await arrive(browser, dev.links.patient, { prepare });
    await person.join();
    await person.page.getByRole('status').filter({ hasText: 'cannot be reached' }).waitFor({ timeout: 10_000 });
    await person.context.close();
  });

  await t.test('a page that is reloaded is back in the call without waiting again', async () => {
    const { provider, patient, close } = await meet(browser, dev, 'reload');
    await patient.page.reload();
    await patient.state('lobby');
    await patient.join();
    await patient.state('call');
    await patient.sees('provider-1');
    await provider.sees('patient-1');
    await provider.hears('patient-1');
    await close();
  });

  await t.test('who leaves before being welcomed back is gone at once, and so is who closes the page', async () => {
    const line = { deaf: false, heard: 0 };
    const prepare = ({ page }) => page.routeWebSocket(/\/v1\/signal$/, (socket) => {
      const server = socket.connectToServer();
      if (line.deaf) server.onMessage(() => { line.heard += 1; });
      Object.assign(line, { socket, server });
    });
    const { provider, patient, close } = await meet(browser, dev, 'gone', { patient: { prepare } });
    line.deaf = true;
    await Promise.all([line.server.close(), line.socket.close()]);
    await until('the gateway welcomes somebody who does not hear it', () => line.heard > 0);
    await patient.get('leave-button').click();
    await provider.tile('patient-1').waitFor({ state: 'detached', timeout: 5000 });

    line.deaf = false;
    await patient.page.getByRole('button', { name: 'Join again' }).click();
    await patient.join();
    await patient.tile('provider-1').waitFor();
    await provider.page.close();
    await patient.tile('provider-1').waitFor({ state: 'detached', timeout: 5000 });
    await close();
  });

  await t.test('the second click of a double click does not let in whoever has moved up', async () => {
    const link = (role, participant) => mintLink(dev.data, 'double', role, participant);
    const provider = await arrive(browser, link('provider', 'provider-1'));
    const guests = await Promise.all(['family-1', 'family-2'].map((participant) => arrive(browser, link('family', participant))));
    for (const person of [provider, ...guests]) await person.join();
    const admit = (participant) => provider.page.locator(`[data-testid="admit-button"][data-participant="${participant}"]`);
    await admit('family-2').waitFor();
    const { x, y, width, height } = await admit('family-1').boundingBox();
    const { mouse } = provider.page;
    await mouse.click(x + width / 2, y + height / 2);
    await until('the next one is under the pointer', async () => (await admit('family-2').boundingBox()).y === y);
    await mouse.down({ clickCount: 2 });
    await mouse.up({ clickCount: 2 });
    await provider.get('lock-button').click(); // what is asked for is done in that order
    await until('the visit is locked', async () => (await provider.get('lock-button').getAttribute('aria-pressed')) === 'true');
    assert.equal(await guests[1].page.evaluate(() => document.body.dataset.state), 'waiting');
    await admit('family-2').click();
    await guests[1].state('call');
    await Promise.all([provider, ...guests].map(({ context }) => context.close()));
  });

  await t.test('who waits and has lost the connection is marked', async () => {
    const line = { cut: false, sockets: [] };
    const prepare = ({ page }) => page.routeWebSocket(/\/v1\/signal$/, (socket) => {
      if (line.cut) return void socket.close();
      line.sockets.push(socket, socket.connectToServer());
    });
    const provider = await arrive(browser, mintLink(dev.data, 'queue', 'provider', 'provider-1'));
    const patient = await arrive(browser, mintLink(dev.data, 'queue', 'patient', 'patient-1'), { prepare });
    for (const person of [provider, patient]) await person.join();
    const row = provider.get('waiting-list').getByRole('listitem');
    await row.waitFor();
    const lost = row.getByText('Connection lost');
    assert.equal(await lost.count(), 0);
    line.cut = true;
    await Promise.all(line.sockets.splice(0).map((socket) => socket.close()));
    await lost.waitFor({ timeout: 10_000 });
    line.cut = false;
    await lost.waitFor({ state: 'detached' });
    await row.waitFor();
    await Promise.all([provider, patient].map(({ context }) => context.close()));
  });

  await t.test('a lost socket is noticed by nobody unless it stays away', async () => {
    const line = { cut: false, sockets: [] };
    const prepare = ({ page }) => page.routeWebSocket(/\/v1\/signal$/, (socket) => {
      if (line.cut) return void socket.close();
      line.sockets.push({ socket, server: socket.connectToServer() });
    });
    const rosters = [];
    const listen = async ({ page }) => void page.on('websocket', (socket) => socket.on('framereceived', ({ payload }) => {
      const message = JSON.parse(payload);
      if (message.type === 'roster') rosters.push(message.members.find(({ participant }) => participant === 'patient-1'));
    }));
    const { provider, patient, close } = await meet(browser, dev, 'socket', { patient: { prepare }, provider: { prepare: listen } });
    const cut = async () => {
      line.cut = true;
      for (const { socket, server } of line.sockets.splice(0)) await Promise.all([server.close(), socket.close()]);
    };
    // The least that flows: silence, and no picture.
    await patient.get('mute-button').click();
    await patient.get('camera-button').click();
    await provider.tile('patient-1', '[data-muted="true"].picture-off').waitFor();
    await provider.page.evaluate(() => {
      window.sawAway = 0;
      new MutationObserver(() => {
        if (document.querySelector('.tile.away')) window.sawAway = performance.now();
      }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ['class'] });
    });

    await cut();
    await until('the gateway tells that the socket is gone', () => rosters.at(-1)?.connected === false);
    line.cut = false;
    await until('the socket is back', () => rosters.at(-1)?.connected === true);
    assert.equal(await provider.page.evaluate(() => window.sawAway), 0, 'somebody noticed');

    const begin = await provider.page.evaluate(() => performance.now());
    await cut();
    await provider.tile('patient-1', '.away').waitFor();
    const after = (await provider.page.evaluate(() => window.sawAway)) - begin;
    assert.ok(after >= 5000, `away after ${after} ms`);
    line.cut = false;
    await provider.tile('patient-1', ':not(.away)').waitFor();
    await patient.get('camera-button').click();
    await provider.sees('patient-1');
    assert.deepEqual(await provider.legs(), [1], 'media never moved');
    await close();
  });
});
