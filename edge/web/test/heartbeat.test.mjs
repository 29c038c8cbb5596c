import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Heartbeat } from '../static/assets/js/heartbeat.js';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] }));
afterEach(() => mock.timers.reset());

function beating(roundTrip = 50, works = true) {
  const seen = { pings: [], silent: 0 };
  const heart = new Heartbeat({
    ping: (id) => {
      if (works) seen.pings.push(id);
      return works;
    },
    silent: () => { seen.silent += 1; },
  });
  heart.start(1000, roundTrip);
  return { heart, seen };
}

/** Lets time pass in small steps, as it does. */
function pass(ms) {
  for (let left = ms; left > 0; left -= 100) mock.timers.tick(Math.min(100, left));
}

test('two seconds without anything after a ping is silence, and it is told once', () => {
  const { seen } = beating();
  pass(2999);
  assert.deepEqual(seen, { pings: [1, 2], silent: 0 });
  pass(1);
  pass(10_000);
  assert.equal(seen.silent, 1);
  assert.equal(seen.pings.length, 3, 'nobody is pinged after that');
});

test('anything that comes is a sign of life', () => {
  const { heart, seen } = beating();
  for (let i = 0; i < 20; i += 1) {
    pass(1400);
    heart.heard({ type: 'speaker', leg: 1, epoch: 1, participant: 'p1' });
  }
  assert.equal(seen.silent, 0);
});

test('a check is less patient, unless an earlier ping is due sooner', () => {
  const { heart, seen } = beating();
  heart.check();
  pass(999);
  assert.equal(seen.silent, 0);
  pass(1);
  assert.equal(seen.silent, 1);

  const other = beating();
  pass(2500); // since 1500 ms a ping is unanswered
  other.heart.check();
  pass(499);
  assert.equal(other.seen.silent, 0);
  pass(1);
  assert.equal(other.seen.silent, 1);
});

test('a far gateway gets more time, but not for ever', () => {
  const far = beating(1000);
  pass(3999);
  assert.equal(far.seen.silent, 0, 'three round trips');
  pass(1);
  assert.equal(far.seen.silent, 1);
  const lost = beating(60_000);
  pass(8999);
  assert.equal(lost.seen.silent, 0);
  pass(1);
  assert.equal(lost.seen.silent, 1);
});

test('how far it is, pongs say', () => {
  const { heart } = beating(0);
  pass(1000);
  pass(700);
  heart.heard({ type: 'pong', id: 1 });
  assert.equal(heart.roundTrip, 700);
  heart.heard({ type: 'pong', id: 1 });
  heart.heard({ type: 'pong', id: 99 });
  assert.equal(heart.roundTrip, 700, 'only an answer to a ping counts');
  pass(400);
  heart.heard({ type: 'pong', id: 2 });
  assert.equal(heart.roundTrip, 630, 'what was slow a moment ago may be slow again');
  assert.equal(heart.sent.size, 0);
});

test('a socket that cannot be written is somebody else\'s business', () => {
  const { seen } = beating(50, false);
  pass(10_000);
  assert.equal(seen.silent, 0);
});

test('a page that stood still asks again before it gives up', () => {
  const { seen } = beating();
  pass(1000);
  const late = mock.method(Date, 'now', () => 1e12);
  pass(2000);
  assert.equal(seen.silent, 0);
  late.mock.restore();
  pass(4000);
  assert.equal(seen.silent, 1);
});

test('stopped is stopped', () => {
  const { heart, seen } = beating();
  pass(1500);
  heart.stop();
  pass(10_000);
  assert.deepEqual(seen, { pings: [1], silent: 0 });
});
