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

test('the last arrival is the latest of all of a participant\'s tracks', () => {
  const track = (participant, ...times) => ({
    participant, receiver: { getSynchronizationSources: () => times.map((at) => ({ timestamp: performance.timeOrigin + at })) },
  });
  const remote = [track('a', 100), track('a', 300, 200), track('b', 900), track('c')];
  assert.ok(Math.abs(lastArrival(remote, 'a') - 300) < 0.01);
  assert.equal(lastArrival(remote, 'c'), undefined);
  assert.equal(lastArrival(remote, 'd'), undefined);
});
