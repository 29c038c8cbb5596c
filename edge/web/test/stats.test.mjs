import assert from 'node:assert/strict';
import { test } from 'node:test';
import { received, sent, transport } from '../static/assets/js/stats.js';

const report = (...entries) => new Map(entries.map((entry) => [entry.id, entry]));

test('the path is that of the selected pair', () => {
  const pair = (local) => report(
    { id: 't', type: 'transport', selectedCandidatePairId: 'p' },
    { id: 'p', type: 'candidate-pair', localCandidateId: 'l', currentRoundTripTime: 0.0321 },
    { id: 'l', type: 'local-candidate', ...local },
  );
  assert.deepEqual(transport(pair({ candidateType: 'host', protocol: 'udp' })), { path: 'udp', rttMs: 32.1 });
  assert.equal(transport(pair({ candidateType: 'prflx', protocol: 'tcp' })).path, 'tcp');
  for (const relayProtocol of ['udp', 'tcp', 'tls']) {
    assert.equal(transport(pair({ candidateType: 'relay', protocol: 'udp', relayProtocol })).path, `relay-${relayProtocol}`);
  }
  assert.deepEqual(transport(report()), {});
  const nominated = report({ id: 'p', type: 'candidate-pair', nominated: true, state: 'succeeded', localCandidateId: 'gone' });
  assert.deepEqual(transport(nominated), {});
});

test('a received track is described by what changed since the last report', () => {
  const before = { id: 'i', type: 'inbound-rtp', kind: 'video', timestamp: 1000, packetsLost: 10, packetsReceived: 90, bytesReceived: 1000 };
  const now = {
    ...before, timestamp: 6000, packetsLost: 20, packetsReceived: 180, bytesReceived: 626_000, jitter: 0.0123, codecId: 'c',
    framesPerSecond: 25, frameWidth: 640, frameHeight: 360, freezeCount: 1, totalFreezesDuration: 0.4, framesDecoded: 125,
  };
  assert.deepEqual(received(report({ id: 'c', mimeType: 'video/VP8' }), now, before, { participant: 'p1', source: 'camera' }), {
    participant: 'p1', source: 'camera', codec: 'VP8', bitrate_bps: 1_000_000, jitter_ms: 12.3, loss: 0.1, fps: 25,
    width: 640, height: 360, freezes: 1, freeze_ms: 400, frames_decoded: 125,
  });
});

test('silence is not concealment, and packets that came late after all are not loss', () => {
  const now = {
    id: 'i', kind: 'audio', timestamp: 5000, packetsLost: -3, packetsReceived: 100,
    totalSamplesReceived: 1000, concealedSamples: 600, silentConcealedSamples: 500,
  };
  const stats = received(report(), now, undefined, { participant: 'p1', source: 'microphone' });
  assert.equal(stats.concealed, 0.1);
  assert.equal(stats.loss, 0);
  assert.equal('bitrate_bps' in stats, false);
  assert.equal('frames_decoded' in stats, false);
});

test('what was not measured is absent', () => {
  assert.deepEqual(received(report(), { id: 'i', kind: 'video', timestamp: 1 }, undefined, { participant: 'p1', source: 'camera' }), {
    participant: 'p1', source: 'camera',
  });
});

test('the layers of a camera are one source', () => {
  const layer = (id, frameWidth, bytesSent, more = {}) => ({ id, type: 'outbound-rtp', timestamp: 2000, frameWidth, frameHeight: frameWidth / 2, bytesSent, ...more });
  const previous = new Map([['q', layer('q', 100, 0, { timestamp: 1000 })], ['f', layer('f', 400, 1000, { timestamp: 1000 })]]);
  const remote = { id: 'r', type: 'remote-inbound-rtp', fractionLost: 0.05 };
  assert.deepEqual(
    sent(report(remote), [layer('q', 100, 1000), layer('f', 400, 3000, { remoteId: 'r', framesPerSecond: 30 })], previous, { source: 'camera' }),
    { source: 'camera', bitrate_bps: 24_000, loss: 0.05, fps: 30, width: 400, height: 200 },
  );
});
