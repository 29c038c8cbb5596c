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
