// One scalable stream of a camera: everybody gets as much of it as they show, and nobody's picture stands still meanwhile.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { build, mintLink, startDev, until } from './lib/wardline.mjs';
import { arrive, launch, visit } from './lib/browser.mjs';

before(build);

const LARGE = { width: 1440, height: 900 };
const SMALL = { width: 240, height: 360 };
/** Without a camera of their own, so that two processors are enough, and with their peer connections where the test finds them. */
const watching = { permissions: ['microphone'], prepare: ({ page }) => page.addInitScript(() => {
  const all = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (constraints) => all({ ...constraints, video: undefined });
  window.connections = [];
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...parameters) {
      super(...parameters);
      window.connections.push(this);
    }
  };
}) };

/** What the browser says of the one video that a person receives. */
const video = ({ page }) => page.evaluate(async () => {
  for (const pc of window.connections) {
    for (const entry of (await pc.getStats()).values()) {
      if (entry.type === 'inbound-rtp' && entry.kind === 'video' && entry.framesDecoded > 0) return entry;
    }
  }
  return undefined;
});

/** Waits for pictures of a height that is right, and checks that they go on. */
async function reaches(t, what, person, right) {
  const began = Date.now();
  const now = await until(what, async () => {
    const now = await video(person);
    return now && right(now.frameHeight) && now;
  }, 30_000);
  t.diagnostic(`${what}: ${now.frameHeight} lines after ${Date.now() - began} ms`);
  await until(`${what}: it goes on`, async () => (await video(person)).framesDecoded > now.framesDecoded + 20, 5000);
}

for (const codec of ['vp9', 'av1']) {
  test(`subscribers get their layers of one stream of ${codec}`, { timeout: 180_000 }, async (t) => {
    const dev = await startDev(t);
    const browser = await launch(t, { fps: 20 });
    const link = (role, participant) => mintLink(dev.data, 'scalable', role, participant, participant);
    const provider = await arrive(browser, link('provider', 'provider-1'), { query: `?codec=${codec}`, viewport: SMALL });
    const large = await arrive(browser, link('patient', 'patient-1'), { viewport: LARGE, ...watching });
    const small = await arrive(browser, link('interpreter', 'interpreter-1'), { viewport: SMALL, ...watching });
    await visit(provider, { 'patient-1': large, 'interpreter-1': small });

    const sent = await until('the camera is sent', async () => {
      const all = await provider.stats();
      return all.find(({ source, kind, framesEncoded }) => source === 'camera' && kind === 'video' && framesEncoded > 0);
    });
    t.diagnostic(`sent: ${JSON.stringify(sent)}`);
    await reaches(t, 'a large tile has a large picture', large, (lines) => lines >= 540);
    await reaches(t, 'a small tile has a small picture', small, (lines) => lines <= 180);
    assert.match((await large.received('provider-1', 'camera', 'video')).codec, new RegExp(codec, 'i'));

    for (let turn = 0; turn < 2; turn += 1) {
      await small.page.setViewportSize(LARGE);
      await reaches(t, 'a tile that grows gets a larger picture', small, (lines) => lines >= 540);
      await small.page.setViewportSize(SMALL);
      await reaches(t, 'a tile that shrinks gets a smaller picture', small, (lines) => lines <= 180);
      await reaches(t, 'the large one keeps its own', large, (lines) => lines >= 540);
    }
    for (const person of [large, small]) {
      const { framesDecoded, keyFramesDecoded, pliCount, nackCount, freezeCount, totalFreezesDuration } = await video(person);
      t.diagnostic(JSON.stringify({ framesDecoded, keyFramesDecoded, pliCount, nackCount, freezeCount, totalFreezesDuration }));
      assert.ok(pliCount <= 3, `${pliCount} requests for key frames`);
      assert.ok(totalFreezesDuration < 1, `${totalFreezesDuration} s without a new picture`);
    }
  });
}
