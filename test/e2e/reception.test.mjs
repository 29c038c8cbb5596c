// The figures of a visit over a bad network follow from samples of getStats; here these are made up.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { figures, fitted, reached, steps } from './lib/reception.mjs';

/** Samples every 100 ms of somebody who receives 20 pictures and 50 packets of a voice a second; change(n) says what else sample n has. */
function samples(count, change = () => ({})) {
  const video = { key: '0/v', kind: 'video', framesDecoded: 0, freezeCount: 0, totalFreezesDuration: 0, packetsReceived: 0, packetsLost: 0, bytesReceived: 0, frameHeight: 360 };
  const audio = { key: '0/a', kind: 'audio', packetsReceived: 0, packetsLost: 0, bytesReceived: 0, totalSamplesReceived: 0, concealedSamples: 0, silentConcealedSamples: 0 };
  return Array.from({ length: count }, (_, n) => {
    const { pictures = 2, voices = 5, video: moreVideo = {}, audio: moreAudio = {}, key = '0' } = change(n);
    const at = 1000 + 100 * n;
    if (n > 0) {
      video.framesDecoded += pictures;
      video.packetsReceived += 4 * pictures;
      video.bytesReceived += 2000 * pictures;
      audio.packetsReceived += voices;
      audio.totalSamplesReceived += 4800;
    }
    if (voices > 0) audio.lastPacketReceivedTimestamp = at - 5;
    for (const [stream, more] of [[video, moreVideo], [audio, moreAudio]]) {
      for (const [name, value] of Object.entries(more)) stream[name] = name === 'frameHeight' ? value : stream[name] + value;
    }
    video.estimatedPlayoutTimestamp = at - 100;
    audio.estimatedPlayoutTimestamp = at - 80;
    return {
      at, rtt: [20 + n % 2],
      streams: [{ ...video, key: `${key}/v`, timestamp: at }, { ...audio, key: `${key}/a`, timestamp: at }],
    };
  });
}

test('a good network', () => {
  const f = figures(samples(51));
  assert.deepEqual([f.seconds, f.fps, f.voices, f.height], [5, 20, 50, 360]);
  assert.deepEqual([f.freezes, f.freezeMs, f.frozenMs, f.gapMs, f.concealed, f.lost], [0, 0, 0, 5, 0, 0]);
  assert.equal(f.kbps, 320);
  assert.equal(f.skewMs, 20);
  assert.ok(f.rttMs >= 20 && f.rttMs <= 21);
});

test('a picture that stands still, a voice that is gone, and what is made up of it', () => {
  const f = figures(samples(51, (n) => {
    if (n > 10 && n <= 18) return { pictures: 0, voices: 0, audio: { concealedSamples: 4800, silentConcealedSamples: n === 18 ? 4800 : 0, packetsLost: 5 } };
    if (n === 19) return { video: { freezeCount: 1, totalFreezesDuration: 0.9 } };
    return n === 30 ? { video: { freezeCount: 1, totalFreezesDuration: 0.2 } } : {};
  }));
  assert.deepEqual([f.freezes, f.freezeMs, f.frozenMs], [2, 900, 1100]);
  assert.equal(f.gapMs, 805);
  assert.equal(f.concealed, 14, '7 of 50 steps');
  assert.ok(f.lost > 0);
});

test('a picture that does not come back stands still until the end', () => {
  const f = figures(samples(51, (n) => (n > 30 ? { pictures: 0 } : {})));
  assert.equal(f.freezes, 0, 'the browser does not know yet');
  assert.equal(f.freezeMs, 2000);
});

test('a new leg counts from zero, and what the old one had stays', () => {
  const before = samples(11);
  const after = samples(11, () => ({ key: '1' })).map((sample) => ({ ...sample, at: sample.at + 1000 }));
  const all = steps([...before, ...after.slice(1)]);
  assert.equal(all.reduce((sum, { video }) => sum + video.framesDecoded, 0), 40);
  assert.ok(all.every(({ video }) => video.framesDecoded >= 0));
});

test('how long a picture takes to fit, and to be large again', () => {
  const bad = samples(101, (n) => (n > 20 && n <= 35 ? { pictures: 0 } : { video: { frameHeight: n > 35 && n <= 60 ? 180 : 360 } }));
  const changed = bad[20].at;
  assert.equal(fitted(bad, changed), 1600);
  assert.equal(fitted(samples(101), changed), 0, 'nothing was to be seen');
  assert.equal(fitted(samples(101, (n) => (n > 22 && n % 10 !== 0 ? { pictures: 0 } : {})), changed), undefined, 'one picture a second fits nothing');
  assert.equal(fitted(samples(101, (n) => (n > 22 ? { pictures: 0 } : {})), changed), undefined, 'it stands still');
  assert.equal(fitted(samples(101, (n) => (n > 22 && n % 15 < 5 ? { voices: 0 } : {})), changed), undefined, 'words are lost');
  assert.equal(reached(bad, 360, changed + 2000), 2100);
  assert.equal(reached(bad, 720, changed), undefined);
});
