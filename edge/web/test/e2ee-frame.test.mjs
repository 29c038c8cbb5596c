import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { decodeTrailer, encodeTrailer, FrameError, ratchet, TAG_BYTES, TRAILER_BYTES } from '../static/assets/js/e2ee-frame.js';
import { Health } from '../static/assets/js/e2ee-health.js';
import { Opener } from '../static/assets/js/e2ee-opener.js';
import { Sealer } from '../static/assets/js/e2ee-sealer.js';

// What the Go implementation makes of the same input.
const vectors = JSON.parse(readFileSync(new URL('../../client/e2ee/testdata/vectors.json', import.meta.url)));
const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => parseInt(byte, 16));
const hex = (data) => Buffer.from(data).toString('hex');
const secretOf = (fill) => new Uint8Array(32).fill(fill);
const camera = { leg: 1, source: 'camera', layer: 0 };
const delta = Uint8Array.from({ length: 40 }, (_, i) => 2 * i + 1);

/** A sender and somebody who has their key. */
function pair({ generation = 1, step = 0, fill = 1 } = {}) {
  const sealer = new Sealer('doctor');
  const opener = new Opener();
  sealer.setKey({ generation, step, secret: secretOf(fill) });
  opener.setKey('doctor', { generation, step, secret: secretOf(fill) });
  return { sealer, opener };
}

const refuses = (promise, reason) => assert.rejects(promise, (error) => error instanceof FrameError && error.reason === reason);

test('frames are those of the other implementation, bit by bit', async () => {
  const key = { generation: vectors.generation, step: vectors.step, secret: bytes(vectors.secret) };
  const sealer = new Sealer(vectors.participant);
  const opener = new Opener();
  sealer.setKey({ ...key });
  opener.setKey(vectors.participant, { ...key });
  for (const { source, leg, plain, sealed } of vectors.frames) {
    assert.equal(hex(await sealer.seal(bytes(plain), { leg, source, layer: 0 })), sealed);
    assert.equal(hex(await opener.open(bytes(sealed), vectors.participant, source)), plain);
  }
  assert.equal(hex(await ratchet(key.secret)), vectors.ratcheted);
});

test('what a media server reads of VP8 stays where it was, and nothing else', async () => {
  const { sealer } = pair();
  for (const [source, first, clear] of [['camera', 0x30, 10], ['camera', 0x31, 3], ['screen', 0x30, 10], ['microphone', 0x30, 0]]) {
    const frame = Uint8Array.from({ length: 200 }, (_, i) => i === 0 ? first : i);
    const sealed = await sealer.seal(frame, { leg: 1, source, layer: 0 });
    assert.equal(sealed.length, frame.length + TAG_BYTES + TRAILER_BYTES);
    assert.deepEqual(sealed.subarray(0, clear), frame.subarray(0, clear));
    const rest = sealed.subarray(clear, frame.length);
    const same = rest.filter((byte, i) => byte === frame[clear + i]).length;
    assert.ok(same < 12, `${same} bytes of ${source} are as they were`);
  }
});

test('any changed byte is noticed', async () => {
  const { sealer, opener } = pair();
  const sealed = await sealer.seal(delta, camera);
  for (let at = 0; at < sealed.length; at++) {
    const changed = sealed.slice();
    changed[at] ^= 0x40;
    await assert.rejects(opener.open(changed, 'doctor', 'camera'), FrameError, `byte ${at}`);
  }
  for (const cut of [1, 12, 13, 28, 29]) {
    await assert.rejects(opener.open(sealed.subarray(0, sealed.length - cut), 'doctor', 'camera'), FrameError, `cut by ${cut}`);
  }
  assert.deepEqual(await opener.open(sealed, 'doctor', 'camera'), delta, 'none of that spoiled anything');
});

test('a frame is nobody else\'s and nothing else', async () => {
  const { sealer, opener } = pair();
  opener.setKey('patient', { generation: 1, step: 0, secret: secretOf(1) });
  const sealed = await sealer.seal(delta, camera);
  await refuses(opener.open(sealed, 'patient', 'camera'), 'forged');
  await refuses(opener.open(sealed, 'doctor', 'screen'), 'format');
  await refuses(opener.open(sealed, 'nobody', 'camera'), 'key');
  await refuses(pair({ fill: 2 }).opener.open(sealed, 'doctor', 'camera'), 'forged');
  await refuses(opener.open(delta, 'doctor', 'camera'), 'format');
});

test('a frame is shown once, late ones within the window', async () => {
  const { sealer, opener } = pair();
  const sealed = [];
  for (let i = 0; i < 1100; i++) sealed.push(await sealer.seal(delta, camera));
  for (const at of [0, 2, 1, 1099, 76, 1098]) await opener.open(sealed[at], 'doctor', 'camera');
  for (const at of [0, 2, 1, 1099, 76]) await refuses(opener.open(sealed[at], 'doctor', 'camera'), 'replayed');
  await refuses(opener.open(sealed[75], 'doctor', 'camera'), 'replayed');
  const twice = await sealer.seal(delta, camera);
  const both = await Promise.allSettled([opener.open(twice, 'doctor', 'camera'), opener.open(twice, 'doctor', 'camera')]);
  assert.deepEqual(both.map(({ status }) => status).sort(), ['fulfilled', 'rejected'], 'also side by side');
});

test('no two frames share key and nonce: side by side, on two legs, in all layers, after a change of keys', async () => {
  const { sealer } = pair();
  const all = [];
  for (const [generation, step] of [[1, 0], [1, 1], [2, 0], [1, 0]]) {
    sealer.setKey({ generation, step, secret: secretOf(generation + step) });
    for (const leg of [1, 2]) {
      for (const source of ['microphone', 'camera', 'screen']) {
        for (const layer of [0, 1, 2]) {
          for (let i = 0; i < 3; i++) all.push(sealer.seal(delta, { leg, source, layer }));
        }
      }
    }
  }
  const trailers = (await Promise.all(all)).map((frame) => hex(frame.subarray(-TRAILER_BYTES)));
  assert.equal(new Set(trailers).size, trailers.length);
  const bodies = (await Promise.all(all)).map((frame) => hex(frame.subarray(3, 19)));
  assert.equal(new Set(bodies).size, bodies.length);
});

test('a key whose nonces are used up seals no more', async () => {
  const { sealer } = pair();
  await sealer.seal(delta, camera);
  sealer.counters.set([...sealer.counters.keys()][0], 2 ** 32 - 1);
  await sealer.seal(delta, camera);
  await assert.rejects(sealer.seal(delta, camera), /nonces/);
  await assert.rejects(sealer.seal(delta, { ...camera, leg: 2 ** 24 }), RangeError);
  await assert.rejects(sealer.seal(delta, { ...camera, layer: 64 }), RangeError);
  await assert.rejects(new Sealer('doctor').seal(delta, camera), /no key/);
});

test('the ratchet goes forward only', async () => {
  const { sealer, opener } = pair();
  const early = await sealer.seal(delta, camera);
  const late = await sealer.seal(delta, camera);
  await opener.open(early, 'doctor', 'camera');
  const next = await ratchet(secretOf(1));
  sealer.setKey({ generation: 1, step: 1, secret: next });
  const newcomer = new Opener();
  newcomer.setKey('doctor', { generation: 1, step: 1, secret: next });
  const after = await sealer.seal(delta, camera);
  for (const each of [opener, newcomer]) assert.deepEqual(await each.open(after, 'doctor', 'camera'), delta);
  await refuses(newcomer.open(early, 'doctor', 'camera'), 'key');
  assert.deepEqual(await opener.open(late, 'doctor', 'camera'), delta, 'one overtaken by the new key');

  const forged = late.slice();
  forged[forged.length - 2] = 200;
  await refuses(opener.open(forged, 'doctor', 'camera'), 'forged');
  sealer.setKey({ generation: 1, step: 2, secret: await ratchet(next) });
  assert.deepEqual(await opener.open(await sealer.seal(delta, camera), 'doctor', 'camera'), delta, 'a forged step moves nothing');
});

test('a generation ends: who does not get the next one reads no more', async () => {
  const { sealer, opener } = pair();
  const left = new Opener();
  left.setKey('doctor', { generation: 1, step: 0, secret: secretOf(1) });
  const last = await sealer.seal(delta, camera);
  sealer.setKey({ generation: 2, step: 0, secret: secretOf(9) });
  opener.setKey('doctor', { generation: 2, step: 0, secret: secretOf(9) });
  const first = await sealer.seal(delta, camera);
  await refuses(left.open(first, 'doctor', 'camera'), 'key');
  assert.deepEqual(await opener.open(first, 'doctor', 'camera'), delta);
  assert.deepEqual(await opener.open(last, 'doctor', 'camera'), delta, 'one that was on the way');
  opener.setKey('doctor', { generation: 2, step: 0, secret: secretOf(3) });
  assert.deepEqual(await opener.open(await sealer.seal(delta, camera), 'doctor', 'camera'), delta, 'a generation does not change');
  for (const generation of [3, 4, 5]) opener.setKey('doctor', { generation, step: 0, secret: secretOf(generation) });
  await refuses(opener.open(await sealer.seal(delta, { ...camera, leg: 2 }), 'doctor', 'camera'), 'key');
  opener.setKey('doctor', { generation: 1, step: 0, secret: secretOf(1) });
  assert.ok(!opener.senders.get('doctor').generations.has(1), 'an old one does not come back');
  opener.forget('doctor');
  await refuses(opener.open(first, 'doctor', 'camera'), 'key');
});

test('what is kept of a sender is bounded', async () => {
  const { sealer, opener } = pair();
  for (let leg = 1; leg <= 70; leg++) await opener.open(await sealer.seal(delta, { ...camera, leg }), 'doctor', 'camera');
  assert.equal(opener.senders.get('doctor').streams.size, 64);
});

test('trailers', () => {
  for (const trailer of [
    { counter: 0, leg: 0, source: 'microphone', layer: 0, generation: 0, step: 0 },
    { counter: 2 ** 32 - 1, leg: 2 ** 24 - 1, source: 'screen', layer: 63, generation: 65535, step: 255 },
    { counter: 1, leg: 2, source: 'camera', layer: 3, generation: 4, step: 5 },
  ]) {
    const encoded = encodeTrailer(trailer);
    assert.equal(encoded.length, TRAILER_BYTES);
    const offset = new Uint8Array([...new Uint8Array(33), ...encoded]).subarray(5);
    assert.deepEqual(decodeTrailer(offset), trailer);
  }
  const good = [...new Uint8Array(39), 1];
  for (const [what, frame] of [
    ['nothing', []], ['a version alone', [1]], ['too short', good.slice(13)], ['another version', [...good.slice(0, -1), 2]],
    ['plain Opus', [0xf8, 0xff, 0xfe]], ['a fourth source', good.map((b, at) => at === 35 ? 0xc0 : b)],
  ]) assert.throws(() => decodeTrailer(Uint8Array.from(frame)), FrameError, what);
});

test('bytes from outside are opened or refused, never anything else', async () => {
  const { sealer, opener } = pair();
  const genuine = await sealer.seal(delta, camera);
  let seed = 7;
  const random = () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) / 2 ** 32;
  for (let round = 0; round < 2000; round++) {
    const frame = round % 2 ? genuine.slice() : Uint8Array.from({ length: Math.floor(random() * 64) }, () => random() * 256);
    for (let i = 0; i <= random() * 3; i++) frame[Math.floor(random() * frame.length)] = random() * 256;
    const end = round % 3 ? frame.length : Math.floor(random() * frame.length);
    const opened = await opener.open(frame.subarray(0, end), 'doctor', 'camera').catch((error) => error);
    assert.ok(opened instanceof FrameError || hex(frame.subarray(0, end)) === hex(genuine), `round ${round}: ${opened}`);
  }
});

test('that somebody cannot be decrypted is told after a while, and once', () => {
  const health = new Health();
  const said = (...frames) => frames.map(([opened, now]) => health.frame('a', opened, now));
  assert.deepEqual(said([true, 0], [false, 10], [false, 1000], [true, 1200], [false, 1300], [false, 2790]), [null, null, null, null, null, null]);
  assert.deepEqual(said([false, 2800], [false, 2900], [true, 3000], [true, 3100]), [false, null, true, null]);
  said([false, 4000]);
  health.forget('a');
  assert.deepEqual(said([false, 6000]), [null]);
});
