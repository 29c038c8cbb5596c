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

let now = 0;
let arriving = true;
let origin = performance.timeOrigin;
let arrived = 0;
let disconnected = false;
mock.method(performance, 'now', () => now);
/** A leg whose packets, while they arrive, are told on the clock of the browser. */
const leg = {
  get disconnected() { return disconnected; },
  remote: [{ receiver: { getSynchronizationSources: () => [{ timestamp: origin + (arrived = arriving ? now : arrived) }] } }],
};

/** @param {number} ms */
function pass(ms) {
  for (const end = now + ms; now < end;) {
    now += 50;
    mock.timers.tick(50);
  }
}

beforeEach(() => {
  mock.timers.enable({ apis: ['setInterval'] });
  now += 60_000;
  arriving = true;
  disconnected = false;
});
afterEach(() => mock.timers.reset());

for (const [name, clock] of [['the page', performance.timeOrigin], ['the browser alone', 0]]) {
  test(`the newest packet of any leg counts, on the clock of ${name}, and so does a lost path`, () => {
    let stalls = 0;
    origin = clock;
    const silent = { disconnected: false, remote: [{ receiver: { getSynchronizationSources: () => [] } }] };
    const watch = new StallWatch(() => [silent, leg], () => { stalls += 1; }, () => {});
    pass(2 * QUIET_MS);
    assert.equal(stalls, 0);
    arriving = false;
    pass(QUIET_MS - 100);
    assert.equal(stalls, 0);
    pass(200);
    assert.equal(stalls, 1);
    assert.ok(watch.stopped);
    pass(2 * QUIET_MS);
    assert.equal(stalls, 1);
    arriving = true;
    pass(200);
    assert.ok(!watch.stopped, 'it is back');
    arriving = false;
    pass(QUIET_MS + 200);
    assert.equal(stalls, 2);
    disconnected = true;
    pass(200);
    assert.equal(stalls, 2, 'the other leg is well');
    silent.disconnected = true;
    pass(200);
    assert.equal(stalls, 3);
    watch.stop();
    arriving = true;
    pass(200);
    arriving = false;
    pass(2 * QUIET_MS);
    assert.equal(stalls, 3);
  });
}

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
