import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Meter } from '../static/assets/js/meter.js';

/** What the microphone brings, -1 to 1. */
let sample = 0;

beforeEach(() => {
  mock.timers.enable({ apis: ['setInterval'] });
  globalThis.AudioContext = class {
    resume = async () => {};
    close = async () => {};
    createAnalyser = () => ({ getFloatTimeDomainData: (samples) => samples.fill(sample) });
    createMediaStreamSource = () => ({ connect() {}, disconnect() {} });
  };
  globalThis.MediaStream = class {};
});
afterEach(() => {
  mock.timers.reset();
  delete globalThis.AudioContext;
  delete globalThis.MediaStream;
});

test('the bar moves all the time, a screen reader is told the loudest of each second', () => {
  const bar = { moved: [], told: [], style: { setProperty: (_, level) => bar.moved.push(Number(level)) }, setAttribute: (_, now) => bar.told.push(now) };
  const meter = new Meter(bar);
  meter.attach({ clone: () => ({ stop() {} }) });
  for (const loud of [0, 1, 0]) {
    sample = loud;
    mock.timers.tick(700);
  }
  meter.stop();
  assert.deepEqual(bar.moved, [0, ...Array(7).fill(0), ...Array(7).fill(1), ...Array(7).fill(0), 0]);
  assert.deepEqual(bar.told, ['0', '100', '100', '0']);
});

test('a browser that cannot measure this microphone shows an empty bar, and the next one', () => {
  const bar = { moved: [], style: { setProperty: (_, level) => bar.moved.push(Number(level)) }, setAttribute() {} };
  const meter = new Meter(bar);
  const open = new Set();
  const track = (/** @type {string} */ name) => ({ clone: () => (open.add(name), { stop: () => open.delete(name) }) });
  meter.attach(track('first'));
  const { createMediaStreamSource } = meter.context;
  meter.context.createMediaStreamSource = () => { throw new DOMException('another sample rate', 'NotSupportedError'); };
  meter.attach(track('headset'));
  sample = 1;
  mock.timers.tick(200);
  assert.equal(bar.moved.at(-1), 0);
  assert.deepEqual([...open], [], 'nothing is left open');
  meter.context.createMediaStreamSource = createMediaStreamSource;
  meter.attach(track('last'));
  mock.timers.tick(200);
  assert.equal(bar.moved.at(-1), 1);
  meter.stop();
});
