import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { LOST_MS, observe, QUIET_MS, StallWatch } from '../static/assets/js/stall.js';

test('media that stops is noticed once', () => {
  assert.deepEqual(observe(false, undefined, 5000), { flowing: false, stalled: false });
  assert.deepEqual(observe(false, 4900, 5000), { flowing: true, stalled: false });
  assert.deepEqual(observe(true, 5001 - QUIET_MS, 5000), { flowing: true, stalled: false });
  assert.deepEqual(observe(true, 5000 - QUIET_MS, 5000), { flowing: false, stalled: true });
  assert.deepEqual(observe(false, 4000, 6000), { flowing: false, stalled: false });
  assert.deepEqual(observe(true, undefined, 9000), { flowing: false, stalled: true });
});

let arrived = 0;
let disconnected = false;
const leg = {
  get disconnected() { return disconnected; },
  remote: [{ receiver: { getSynchronizationSources: () => [{ timestamp: performance.timeOrigin + arrived }] } }],
};

beforeEach(() => {
  mock.timers.enable({ apis: ['setInterval'] });
  arrived = performance.now();
  disconnected = false;
});
afterEach(() => mock.timers.reset());

test('the newest packet of any leg counts, and so does a lost path', () => {
  let stalls = 0;
  const silent = { disconnected: false, remote: [{ receiver: { getSynchronizationSources: () => [] } }] };
  const watch = new StallWatch(() => [silent, leg], () => { stalls += 1; }, () => {});
  mock.timers.tick(250);
  assert.equal(stalls, 0);
  arrived -= 2 * QUIET_MS;
  mock.timers.tick(250);
  mock.timers.tick(250);
  assert.equal(stalls, 1);
  assert.ok(watch.stopped);
  arrived = performance.now();
  mock.timers.tick(250);
  assert.ok(!watch.stopped, 'it is back');
  arrived -= 2 * QUIET_MS;
  mock.timers.tick(250);
  assert.equal(stalls, 2);
  disconnected = true;
  mock.timers.tick(250);
  assert.equal(stalls, 2, 'the other leg is well');
  silent.disconnected = true;
  mock.timers.tick(250);
  mock.timers.tick(250);
  assert.equal(stalls, 3);
  watch.stop();
  arrived = performance.now();
  mock.timers.tick(250);
  arrived = 0;
  mock.timers.tick(250);
  assert.equal(stalls, 3);
});

test('a visit without legs never stalls', () => {
  let stalls = 0;
  const watch = new StallWatch(() => [], () => { stalls += 1; }, () => {});
  mock.timers.tick(1000);
  watch.stop();
  assert.equal(stalls, 0);
});

test('a path that stays lost is told once in a while, one that comes back is not', () => {
  let lost = 0;
  const watch = new StallWatch(() => [leg], () => {}, () => { lost += 1; });
  disconnected = true;
  mock.timers.tick(LOST_MS - 250);
  assert.equal(lost, 0);
  disconnected = false;
  mock.timers.tick(250);
  disconnected = true;
  mock.timers.tick(LOST_MS - 250);
  assert.equal(lost, 0, 'it was back in between');
  mock.timers.tick(250);
  assert.equal(lost, 1);
  mock.timers.tick(LOST_MS);
  assert.equal(lost, 2);
  watch.stop();
});
