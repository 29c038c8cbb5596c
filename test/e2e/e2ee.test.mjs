// End-to-end encrypted visits: those who have the keys see and hear each other, nobody else does.
import assert from 'node:assert/strict';
import { createECDH } from 'node:crypto';
import { before, test } from 'node:test';
import { arrive, launch, meet } from './lib/browser.mjs';
import { build, createEncounter, mintLink, startDev, startProcesses, until } from './lib/wardline.mjs';

/** Three encoders and decoders a person, and a worker each, on what may be two cores. */
const PATIENCE = 40_000;

before(build);

/** Opens the lock's dialog by the keyboard, reads the safety number and closes it again. */
async function safetyNumber(person) {
  await person.get('e2ee-button').focus();
  await person.page.keyboard.press('Enter');
  const digits = await until('a safety number', async () => {
    const text = await person.get('safety-number').innerText();
    return /^(\d{5}\s*){6}$/.test(text.trim()) && text.replace(/\s/g, '');
  });
  await person.page.keyboard.press('Escape');
  await person.get('e2ee-dialog').waitFor({ state: 'detached' });
  return digits;
}

/** Gives a page's server another public key than the page has: what somebody is sent is sealed to nobody. */
const withWrongKey = ({ page }) => page.routeWebSocket(/\/v1\/signal$/, (socket) => {
  const server = socket.connectToServer();
  socket.onMessage((text) => {
    const message = JSON.parse(text);
    const key = createECDH('prime256v1').generateKeys().toString('base64url');
    server.send(message.type === 'public-key' ? JSON.stringify({ ...message, key }) : text);
  });
});

test('an end-to-end encrypted visit', { timeout: 300_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t);

  await t.test('two people see and hear each other, whoever has a wrong key sees nothing', async () => {
    await createEncounter(dev, { id: 'sealed', e2ee: true });
    const { link, provider, patient, close } = await meet(browser, dev, 'sealed');
    await provider.hears('patient-1');
    await patient.hears('provider-1');
    const number = await safetyNumber(provider);
    assert.equal(number, await safetyNumber(patient));

    const stranger = await arrive(browser, link('scribe', 'stranger', 'A stranger'), { prepare: withWrongKey });
    await stranger.join();
    await provider.page.locator('[data-testid="admit-button"][data-participant="stranger"]').click();
    await stranger.state('call');
    for (const sender of ['provider-1', 'patient-1']) {
      await until(`packets of ${sender} reach the stranger`, async () =>
        (await stranger.received(sender, 'camera', 'video'))?.packetsReceived > 50);
      await stranger.tile(sender, ':has-text("Cannot be decrypted")').waitFor();
    }
    for (const { kind, framesDecoded = 0, totalAudioEnergy = 0 } of await stranger.stats()) {
      assert.equal(kind === 'video' ? framesDecoded : totalAudioEnergy, 0, `${kind} was shown to the stranger`);
    }
    await provider.page.locator('.e2ee-mark.changed').waitFor();
    await provider.sees('patient-1', 'camera', PATIENCE);
    await patient.sees('provider-1', 'camera', PATIENCE);
    await patient.hears('provider-1');
    const [one, two, three] = [await safetyNumber(provider), await safetyNumber(patient), await safetyNumber(stranger)];
    assert.equal(one, two);
    assert.notEqual(one, number, 'somebody came');
    assert.notEqual(one, three, 'what gives the lie away');

    await stranger.get('leave-button').click();
    await stranger.state('ended');
    await until('the number is as before', async () => (await safetyNumber(provider)) === number);
    await provider.sees('patient-1', 'camera', PATIENCE);
    await patient.sees('provider-1', 'camera', PATIENCE);
    await patient.hears('provider-1');
    await stranger.context.close();
    await close();
  });

  await t.test('layers are switched, and whoever comes back sees everybody', async () => {
    await createEncounter(dev, { id: 'layers', e2ee: true });
    const keepSenders = ({ page }) => page.addInitScript(() => {
      window.cameras = [];
      const add = RTCPeerConnection.prototype.addTransceiver;
      RTCPeerConnection.prototype.addTransceiver = function addTransceiver(track, init) {
        const transceiver = add.call(this, track, init);
        if (init.sendEncodings?.length > 1) window.cameras.push(transceiver.sender);
        return transceiver;
      };
    });
    // The other way of transforming frames, where Chromium still has it.
    const withStreams = ({ page }) => page.addInitScript(() => {
      if ('createEncodedStreams' in RTCRtpSender.prototype) delete window.RTCRtpScriptTransform;
    });
    const { provider, patient, close } = await meet(browser, dev, 'layers', {
      provider: { prepare: keepSenders }, patient: { prepare: withStreams },
    });
    /** Sends one simulcast layer alone and waits until it is what the other sees. */
    const only = async (rid) => {
      await provider.page.evaluate(async (rid) => {
        const [sender] = window.cameras;
        const parameters = sender.getParameters();
        for (const encoding of parameters.encodings) encoding.active = encoding.rid === rid;
        await sender.setParameters(parameters);
      }, rid);
      await until(`layer ${rid} is seen`, async () => {
        const sent = (await provider.stats()).find((s) => s.rid === rid)?.frameWidth;
        const { frameWidth } = await patient.received('provider-1', 'camera', 'video');
        return sent > 0 && frameWidth === sent;
      }, 30_000);
      await patient.sees('provider-1', 'camera', PATIENCE);
    };
    await only('q');
    await only('h');
    await only('q');

    await patient.page.reload();
    await patient.state('lobby');
    await patient.join();
    await patient.state('call');
    await patient.sees('provider-1', 'camera', PATIENCE);
    await provider.sees('patient-1', 'camera', PATIENCE);
    await provider.hears('patient-1');
    assert.equal(await safetyNumber(provider), await safetyNumber(patient));
    await close();
  });
});

test('an end-to-end encrypted visit goes on in a new session when the gateway that the page came from is gone', { timeout: 120_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t);
  await createEncounter(dev, { id: 'again', e2ee: true });
  const sockets = [];
  const anew = ({ page }) => page.routeWebSocket(/\/v1\/signal$/, (socket) => {
    sockets.push(socket);
    const server = socket.connectToServer();
    socket.onMessage((text) => {
      const { resume, ...message } = JSON.parse(text);
      server.send(JSON.stringify(message));
    });
  });
  const { provider, patient } = await meet(browser, dev, 'again', { patient: { prepare: anew } });
  const number = await safetyNumber(provider);
  await patient.page.route(/\/assets\//, (route) => route.abort());
  await sockets[0].close();
  await until('the number of new keys', async () => {
    const now = await safetyNumber(provider);
    return now !== number && now === await safetyNumber(patient);
  });
  await patient.sees('provider-1', 'camera', PATIENCE);
  await provider.sees('patient-1', 'camera', PATIENCE);
  await patient.hears('provider-1');
  assert.equal(await patient.page.locator('.tile').getByText('Cannot be decrypted').count(), 0);
});

test('a browser that cannot encrypt does not take part', { timeout: 120_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t);
  await createEncounter(dev, { id: 'old', e2ee: true });
  const link = mintLink(dev.data, 'old', 'provider', 'provider-1');
  const old = ({ page }) => page.addInitScript(() => { delete RTCRtpTransceiver.prototype.setCodecPreferences; });
  const person = await arrive(browser, link, { prepare: old });
  await person.join();
  await person.state('ended');
  assert.equal(await person.get('end-screen').getAttribute('data-code'), 'no-e2ee');
});

test('an end-to-end encrypted visit goes on at another media server', { timeout: 180_000 }, async (t) => {
  const dev = await startDev(t); // it registers the tenant
  await dev.stop();
  const world = await startProcesses(t, dev.data);
  const browser = await launch(t);
  await createEncounter(world, { id: 'moved', e2ee: true });
  const { provider, patient } = await meet(browser, world, 'moved');
  const number = await safetyNumber(patient);
  const [{ sfu }] = await patient.page.evaluate(() => window.wardline.legs());
  world.sfus[sfu].kill('SIGKILL');
  for (const [person, other] of [[patient, 'provider-1'], [provider, 'patient-1']]) {
    await until(`${other} is seen again`, async () => {
      const now = await person.received(other, 'camera', 'video');
      return now && now.leg > 1 && now.framesDecoded > 0;
    });
    await person.sees(other, 'camera', PATIENCE);
    await person.hears(other);
  }
  assert.equal(await safetyNumber(patient), number, 'the same people with the same keys');
});
