import assert from 'node:assert/strict';
import { afterEach, test } from 'node:test';
import { addScalable } from '../static/assets/js/scalable.js';

afterEach(() => { delete globalThis.RTCRtpSender; });

const known = (...types) => { globalThis.RTCRtpSender = { getCapabilities: () => ({ codecs: types.map((mimeType) => ({ mimeType })) }) }; };
const connection = (accepts = true) => ({
  added: [],
  addTransceiver(track, init) {
    if (!accepts) throw new DOMException('no such mode', 'OperationError');
    const transceiver = { init, setCodecPreferences(codecs) { this.preferred = codecs.map(({ mimeType }) => mimeType); } };
    this.added.push(transceiver);
    return transceiver;
  },
});

test('a camera is sent as one stream of the codec that was asked for', () => {
  known('video/VP8', 'video/VP9', 'video/rtx', 'video/AV1', 'video/VP9');
  const transceiver = addScalable(connection(), {}, 'vp9');
  assert.deepEqual(transceiver.preferred, ['video/VP9', 'video/VP9', 'video/VP8', 'video/rtx', 'video/AV1']);
  assert.deepEqual(transceiver.init.sendEncodings.map(({ scalabilityMode, rid }) => [scalabilityMode, rid]), [['L3T3_KEY', undefined]]);
});

test('a browser that cannot sends what it sent before', () => {
  known('video/VP8');
  const pc = connection();
  assert.equal(addScalable(pc, {}, 'av1'), null);
  assert.deepEqual(pc.added, []);
  known('video/AV1');
  assert.equal(addScalable(connection(false), {}, 'av1'), null);
  delete globalThis.RTCRtpSender;
  assert.equal(addScalable(pc, {}, 'vp9'), null);
});
