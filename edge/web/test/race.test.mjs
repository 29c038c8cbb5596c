import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { HEAD_START_MS, Race } from '../static/assets/js/race.js';

beforeEach(() => mock.timers.enable({ apis: ['setTimeout'] }));
afterEach(() => mock.timers.reset());

/** Runs a race; what the network would do is in the test's hands. */
function run(addresses, forbidden = []) {
  const seen = { dialed: [], won: [], lost: [], sockets: {} };
  const race = new Race(addresses, {
    dial: (address) => {
      if (forbidden.includes(address)) throw new Error('SecurityError');
      seen.dialed.push(address);
      seen.sockets[address] = { closed: false, close() { this.closed = true; } };
      return seen.sockets[address];
    },
    won: (_, address) => seen.won.push(address),
    lost: (code) => seen.lost.push(code),
  });
  return { race, seen };
}

test('the first wins as long as it answers in time', () => {
  const { seen } = run(['a', 'b']);
  mock.timers.tick(HEAD_START_MS - 1);
  seen.sockets.a.onopen();
  mock.timers.tick(10_000);
  assert.deepEqual(seen.dialed, ['a']);
  assert.deepEqual(seen.won, ['a']);
  assert.equal(seen.sockets.a.closed, false);
});

test('one that says nothing costs no more than its head start', () => {
  const { seen } = run(['a', 'b', 'c']);
  mock.timers.tick(HEAD_START_MS);
  assert.deepEqual(seen.dialed, ['a', 'b']);
  seen.sockets.b.onopen();
  assert.deepEqual(seen.won, ['b']);
  assert.ok(seen.sockets.a.closed);
  assert.equal(seen.sockets.a.onopen, null, 'too late now');
  mock.timers.tick(10_000);
  assert.deepEqual(seen.dialed, ['a', 'b']);
});

test('a slow first one can still win', () => {
  const { seen } = run(['a', 'b']);
  mock.timers.tick(HEAD_START_MS);
  seen.sockets.a.onopen();
  assert.deepEqual(seen.won, ['a']);
  assert.ok(seen.sockets.b.closed);
});

test('one that refuses is passed over at once', () => {
  const { seen } = run(['a', 'b']);
  seen.sockets.a.onclose({ code: 1006 });
  assert.deepEqual(seen.dialed, ['a', 'b']);
  seen.sockets.b.onopen();
  assert.deepEqual(seen.won, ['b']);
  assert.deepEqual(seen.lost, []);
});

test('it is lost when all have failed, not before', () => {
  const { seen } = run(['a', 'b', 'c'], ['c']);
  mock.timers.tick(HEAD_START_MS);
  seen.sockets.b.onclose({ code: 1006 });
  assert.deepEqual(seen.lost, [], 'the first may still open');
  seen.sockets.a.onclose({ code: 4429 });
  assert.deepEqual(seen.lost, [4429]);
});

test('what the policy forbids is passed over, and nothing else is an error either', () => {
  assert.deepEqual(run(['a', 'b'], ['a']).seen.dialed, ['b']);
  assert.deepEqual(run(['a'], ['a']).seen.lost, [1006]);
  assert.deepEqual(run([]).seen.lost, [1006]);
});

test('a race that was stopped tells nobody', () => {
  const { race, seen } = run(['a', 'b']);
  race.stop();
  mock.timers.tick(10_000);
  assert.deepEqual(seen, { ...seen, dialed: ['a'], won: [], lost: [] });
  assert.ok(seen.sockets.a.closed);
});
