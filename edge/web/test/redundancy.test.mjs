import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { preferRedundancy } from '../static/assets/js/publisher.js';

after(() => { delete globalThis.RTCRtpSender; });

const transceiver = () => ({ preferred: null, setCodecPreferences(codecs) { this.preferred = codecs.map(({ mimeType }) => mimeType); } });
const known = (...types) => { globalThis.RTCRtpSender = { getCapabilities: () => ({ codecs: types.map((mimeType) => ({ mimeType })) }) }; };

test('voice is sent redundantly, and otherwise as before', () => {
  known('audio/opus', 'audio/red', 'audio/G722');
  const one = transceiver();
  preferRedundancy(one);
  assert.deepEqual(one.preferred, ['audio/red', 'audio/opus', 'audio/G722']);
});

test('a browser that cannot is left alone', () => {
  known('audio/opus');
  const one = transceiver();
  preferRedundancy(one);
  assert.equal(one.preferred, null);
  known('audio/red');
  preferRedundancy({}); // has no setCodecPreferences
  delete globalThis.RTCRtpSender;
  preferRedundancy(one);
  assert.equal(one.preferred, null);
});
