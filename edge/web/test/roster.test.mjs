import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AWAY_AFTER_MS, STOPPED_AFTER_MS, changes, noticed, socketless } from '../static/assets/js/roster.js';
import { lastArrival } from '../static/assets/js/subscriber.js';

test('who joined, left and waits', () => {
  const member = (participant, state) => ({ participant, state, role: 'patient', connected: true });
  const ids = ({ joined, left, waits }) => [joined, left, waits].map((list) => list.map((m) => m.participant));
  const first = [member('me', 'admitted'), member('a', 'waiting'), member('b', 'admitted')];
  assert.deepEqual(ids(changes([], first, 'me')), [['b'], [], ['a']]);
  assert.deepEqual(ids(changes(first, [member('me', 'admitted'), member('a', 'admitted')], 'me')), [['a'], ['b'], []]);
  assert.deepEqual(ids(changes(first, first, 'me')), [[], [], []]);
});

const person = (participant, connected) => ({ participant, connected, state: 'admitted', role: 'patient' });
const away = (members, since, lastMedia, now) =>
  noticed(members, since, lastMedia, now).filter(({ connected }) => !connected).map(({ participant }) => participant);

test('a socket that is back within 5 s is noticed by nobody', () => {
  const gone = [person('a', false), person('b', true)];
  let since = socketless(new Map(), [person('a', true), person('b', true)], gone, 1000);
  const flowing = () => 1000 + AWAY_AFTER_MS;
  assert.deepEqual(away(gone, since, flowing, 1000), []);
  assert.deepEqual(away(gone, since, flowing, 1000 + AWAY_AFTER_MS - 1), []);
  assert.deepEqual(away(gone, since, flowing, 1000 + AWAY_AFTER_MS), ['a']);
  since = socketless(since, gone, gone, 4000);
  assert.equal(since.get('a'), 1000, 'another roster does not start the wait again');
  since = socketless(since, gone, [person('a', true), person('b', true)], 4500);
  assert.equal(since.size, 0);
});

test('a socket that goes together with the media is noticed as soon as media has stopped', () => {
  const gone = [person('a', false)];
  const since = socketless(new Map(), [person('a', true)], gone, 1000);
  const stoppedAt = (when) => () => when;
  assert.deepEqual(away(gone, since, stoppedAt(1000), 1000 + STOPPED_AFTER_MS - 1), []);
  assert.deepEqual(away(gone, since, stoppedAt(1000), 1000 + STOPPED_AFTER_MS), ['a']);
  assert.deepEqual(away(gone, since, stoppedAt(1000 - STOPPED_AFTER_MS), 1000), ['a'], 'at once when media stopped before');
  assert.deepEqual(away(gone, since, () => undefined, 1000), [], 'somebody who sends nothing has nothing that stops');
});

test('who was never seen with a socket is away from the start', () => {
  const gone = [person('a', false)];
  assert.deepEqual(away(gone, socketless(new Map(), [], gone, 1000), () => undefined, 1000), ['a']);
});

test('media that stopped alone is a matter of the tile, not of the roster', () => {
  const there = [person('a', true)];
  assert.deepEqual(noticed(there, new Map(), () => 0, 1e6), there);
});

/** A receiver whose newest packets are told on a clock that may be any. */
const receiver = (...timestamps) => ({ timestamps, getSynchronizationSources() { return this.timestamps.map((timestamp) => ({ timestamp })); } });

test('the last arrival is the latest of all of a participant\'s tracks', () => {
  const at = (...times) => receiver(...times.map((time) => performance.timeOrigin + time));
  const remote = [['a', at(1100)], ['a', at(1300, 1200)], ['b', at(1900)], ['c', at()]].map(([participant, receiver]) => ({ participant, receiver }));
  assert.ok(Math.abs(lastArrival(remote, 'a', 2000) - 1300) < 0.01);
  assert.equal(lastArrival(remote, 'c', 2000), undefined);
  assert.equal(lastArrival(remote, 'd', 2000), undefined);
});

for (const [name, origin] of [['of the page', performance.timeOrigin], ['since the start of the browser', 0], ['that sleep has put ahead', performance.timeOrigin + 60_000]]) {
  test(`an arrival is noticed on a clock ${name}`, () => {
    const it = receiver(origin + 1000);
    const arrival = (now) => Math.round(lastArrival([{ participant: 'a', receiver: it }], 'a', now));
    arrival(1000);
    it.timestamps = [origin + 1100];
    assert.equal(arrival(1100), 1100);
    assert.equal(arrival(1900), 1100, 'nothing has come since');
    it.timestamps = [origin + 2000];
    assert.equal(arrival(2000), 2000);
  });
}

test('a packet that is told of when it is played has arrived before', () => {
  const it = receiver(performance.timeOrigin + 900);
  const arrival = (now) => Math.round(lastArrival([{ participant: 'a', receiver: it }], 'a', now));
  arrival(1000);
  it.timestamps = [performance.timeOrigin + 950];
  assert.equal(arrival(1100), 950);
});
