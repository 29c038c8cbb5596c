// A browser that cannot decode what somebody sends: they send something else, for as long as it is there.
import { before, test } from 'node:test';
import { build, mintLink, startDev, until } from './lib/wardline.mjs';
import { arrive, launch, visit } from './lib/browser.mjs';

before(build);

/** Decodes VP8 and no other video, sends none. */
const vp8 = { permissions: ['microphone'], prepare: ({ page }) => page.addInitScript(() => {
  const all = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  navigator.mediaDevices.getUserMedia = (constraints) => all({ ...constraints, video: undefined });
  const answer = RTCPeerConnection.prototype.createAnswer;
  const set = RTCPeerConnection.prototype.setLocalDescription;
  const restrict = (pc) => {
    const known = RTCRtpReceiver.getCapabilities('video').codecs.filter(({ mimeType }) => mimeType === 'video/VP8');
    for (const transceiver of pc.getTransceivers()) {
      if (transceiver.receiver.track.kind === 'video') transceiver.setCodecPreferences(known);
    }
  };
  RTCPeerConnection.prototype.createAnswer = function createAnswer(...parameters) {
    restrict(this);
    return answer.apply(this, parameters);
  };
  RTCPeerConnection.prototype.setLocalDescription = function setLocalDescription(...parameters) {
    if (this.signalingState === 'have-remote-offer') restrict(this);
    return set.apply(this, parameters);
  };
}) };

/** Waits until a camera is sent in a codec, and goes on. */
async function sends(t, person, codec) {
  const began = Date.now();
  const camera = async () => (await person.stats())
    .find((each) => each.participant === '' && each.source === 'camera' && each.kind === 'video' && each.codec === `video/${codec}`);
  const first = await until(`the camera is sent as ${codec}`, camera, 30_000);
  await until(`${codec} goes on`, async () => (await camera())?.packetsSent > first.packetsSent, 10_000);
  t.diagnostic(`${codec} after ${Date.now() - began} ms`);
}

test('who cannot decode a video gets it in another codec', { timeout: 120_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t, { fps: 10 });
  const link = (role, participant) => mintLink(dev.data, 'codecs', role, participant, participant);
  const provider = await arrive(browser, link('provider', 'provider-1'), { query: '?codec=vp9' });
  const able = await arrive(browser, link('interpreter', 'interpreter-1'), { permissions: ['microphone'] });
  await visit(provider, { 'interpreter-1': able });
  await sends(t, provider, 'VP9');
  await able.sees('provider-1');

  const patient = await arrive(browser, link('patient', 'patient-1'), vp8);
  await patient.join();
  await provider.page.locator('[data-testid="admit-button"][data-participant="patient-1"]').click();
  await patient.state('call');
  await sends(t, provider, 'VP8');
  await patient.sees('provider-1');
  await able.sees('provider-1');

  await patient.page.close();
  await sends(t, provider, 'VP9');
  await able.sees('provider-1');
});
