// What a page shows decides what is sent to it, and what nobody looks at is not even encoded.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { build, startDev, until } from './lib/wardline.mjs';
import { launch, meet } from './lib/browser.mjs';

before(build);

/** Keeps the page's peer connections where the test finds them. */
const prepare = ({ page }) => page.addInitScript(() => {
  window.connections = [];
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(...parameters) {
      super(...parameters);
      window.connections.push(this);
    }
  };
});

/** The camera's layers that are being encoded. */
const encoded = ({ page }) => page.evaluate(() => window.connections.flatMap((pc) => pc.getSenders())
  .flatMap((sender) => sender.getParameters().encodings).filter(({ rid, active }) => rid && active).map(({ rid }) => rid).join(''));

const width = async (person, participant) => (await person.received(participant, 'camera', 'video'))?.frameWidth ?? 0;

test('a small window gets a small picture, and the large one is not encoded until it is wanted', { timeout: 120_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t, { fps: 20 });
  const { provider, patient } = await meet(browser, dev, 'layers', {
    provider: { prepare }, patient: { prepare, viewport: { width: 240, height: 360 } },
  });
  await until('only the smallest layer is encoded', async () => await encoded(provider) === 'q', 30_000);
  await until('the picture is small', async () => {
    const now = await width(patient, 'provider-1');
    return now > 0 && now <= 320;
  }, 15_000);

  const began = Date.now();
  await patient.page.setViewportSize({ width: 1440, height: 900 });
  await until('a larger layer is encoded', async () => await encoded(provider) !== 'q', 15_000);
  t.diagnostic(`larger wanted after ${Date.now() - began} ms`);
  await until('the picture is large', async () => await width(patient, 'provider-1') >= 640, 30_000);
  t.diagnostic(`large after ${Date.now() - began} ms`);
  await patient.sees('provider-1');
});
