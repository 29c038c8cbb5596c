import assert from 'node:assert/strict';
import { beforeEach, afterEach, mock, test } from 'node:test';
import { backoff, Signal } from '../static/assets/js/signal.js';

/** @type {FakeSocket[]} */
let sockets = [];

class FakeSocket {
  constructor(url, protocol) {
    Object.assign(this, { url, protocol, readyState: 0, sent: [], closed: false });
    sockets.push(this);
  }
  send(data) { this.sent.push(JSON.parse(data)); }
  close() { this.closed = true; this.readyState = 3; }
  // What the server does:
  open() { this.readyState = 1; this.onopen?.({}); }
  say(message) { this.onmessage?.({ data: JSON.stringify(message) }); }
  drop(code = 1006) { this.readyState = 3; this.onclose?.({ code }); }
}

const welcome = (more = {}) => ({
  type: 'welcome', session: 's1', resumed: false, state: 'admitted', ping_ms: 1000, resume_ms: 30_000, ice_servers: [],
  you: { participant: 'p1', role: 'patient', encounter: 'e1', permissions: [] }, ...more,
});

function start() {
  const signal = new Signal({ url: 'wss://host/v1/signal', token: 'T', dial: (url, protocol) => new FakeSocket(url, protocol), random: () => 0.5 });
  const seen = { states: [], closed: [] };
  signal.on('state', (state) => seen.states.push(state));
  signal.on('closed', (code) => seen.closed.push(code));
  signal.connect();
  return { signal, seen };
}

function joined() {
  const visit = start();
  sockets[0].open();
  sockets[0].say(welcome());
  return visit;
}

beforeEach(() => {
  sockets = [];
  mock.timers.enable({ apis: ['setTimeout', 'setInterval', 'Date'] });
});
afterEach(() => mock.timers.reset());

test('joins with the token and nothing else in the address', () => {
  const { signal } = joined();
  assert.equal(sockets[0].url, 'wss://host/v1/signal');
  assert.equal(sockets[0].protocol, 'wardline.v1');
  assert.deepEqual(sockets[0].sent, [{ type: 'join', token: 'T' }]);
  assert.equal(signal.state, 'open');
});

test('a lost socket is replaced at once and the session resumed', () => {
  const { signal, seen } = joined();
  sockets[0].drop();
  assert.equal(signal.state, 'reconnecting');
  mock.timers.tick(0);
  assert.equal(sockets.length, 2);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent, [{ type: 'join', token: 'T', resume: 's1' }]);
  sockets[1].say(welcome({ resumed: true }));
  assert.deepEqual(seen.states, ['connecting', 'open', 'reconnecting', 'open']);
});

test('each attempt that failed is told, also before the first welcome', () => {
  const { signal, seen } = start();
  const failed = [];
  signal.on('failed', (times) => failed.push(times));
  sockets[0].drop();
  mock.timers.tick(0);
  sockets[1].drop();
  assert.deepEqual({ failed, states: seen.states }, { failed: [1, 2], states: ['connecting'] });
});

test('attempts come at 0, 0.25, 0.5, 1, 2, 2 s, and start over after a welcome', () => {
  joined();
  sockets[0].drop();
  for (const wait of [0, 250, 500, 1000, 2000, 2000]) {
    const before = sockets.length;
    if (wait > 0) {
      mock.timers.tick(wait - 1);
      assert.equal(sockets.length, before, `not before ${wait} ms`);
    }
    mock.timers.tick(wait > 0 ? 1 : 0);
    assert.equal(sockets.length, before + 1, `after ${wait} ms`);
    sockets.at(-1).drop();
  }
  mock.timers.tick(2000);
  sockets.at(-1).open();
  sockets.at(-1).say(welcome({ resumed: true }));
  const before = sockets.length;
  sockets.at(-1).drop();
  mock.timers.tick(0);
  assert.equal(sockets.length, before + 1);
});

test('jitter stays within a quarter', () => {
  assert.equal(backoff(0, 1), 0);
  assert.equal(backoff(3, 0), 750);
  assert.equal(backoff(3, 1), 1250);
  assert.equal(backoff(99, 0.5), 2000);
});

test('pings regularly; nothing at all for 2 s after a ping means the socket is dead', () => {
  const { signal } = joined();
  mock.timers.tick(1000);
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'ping', id: 1 });
  sockets[0].say({ type: 'pong', id: 1 });
  mock.timers.tick(1000);
  mock.timers.tick(1500);
  sockets[0].say({ type: 'speaker', leg: 1, epoch: 1, participant: 'p2' });
  mock.timers.tick(500); // of the ping before
  mock.timers.tick(1999);
  assert.equal(signal.state, 'open');
  mock.timers.tick(1);
  assert.equal(signal.state, 'reconnecting');
  assert.ok(sockets[0].closed);
});

test('a socket that never welcomes is given up', () => {
  const { signal } = start();
  sockets[0].open();
  mock.timers.tick(8000);
  assert.ok(sockets[0].closed);
  mock.timers.tick(0);
  assert.equal(sockets.length, 2);
  assert.equal(signal.state, 'connecting');
});

test('messages of a socket that was given up are not heard', () => {
  const { signal } = joined();
  const rosters = [];
  signal.on('roster', (roster) => rosters.push(roster));
  const old = sockets[0];
  old.drop();
  old.say({ type: 'roster', revision: 1, locked: false, members: [] });
  assert.equal(rosters.length, 0);
});

test('a final refusal ends, with the code of the error', () => {
  for (const [code, status] of [['token-expired', 4401], ['encounter-locked', 4403], ['participant-removed', 4403]]) {
    sockets = [];
    const { signal, seen } = start();
    sockets[0].open();
    sockets[0].say({ type: 'error', code, message: 'no', about: 'join' });
    sockets[0].drop(status);
    mock.timers.tick(60_000);
    assert.deepEqual(seen.closed, [code]);
    assert.equal(signal.state, 'closed');
    assert.equal(sockets.length, 1);
  }
});

test('a passing refusal and throttling are tried again, later', () => {
  const { seen } = start();
  sockets[0].open();
  sockets[0].say({ type: 'error', code: 'unavailable', message: 'later', about: 'join' });
  sockets[0].drop(4403);
  mock.timers.tick(2499);
  assert.equal(sockets.length, 1);
  mock.timers.tick(1);
  assert.equal(sockets.length, 2);
  sockets[1].drop(4429);
  mock.timers.tick(4999);
  assert.equal(sockets.length, 2);
  mock.timers.tick(1);
  assert.equal(sockets.length, 3);
  assert.deepEqual(seen.closed, []);
});

test('bye ends or reconnects as it says', () => {
  const { seen } = joined();
  sockets[0].say({ type: 'bye', code: 'shutdown', retry: true });
  mock.timers.tick(0);
  assert.equal(sockets.length, 2);
  sockets[1].open();
  assert.equal(sockets[1].sent[0].resume, 's1');
  sockets[1].say(welcome({ resumed: true }));
  sockets[1].say({ type: 'bye', code: 'replaced', retry: false });
  mock.timers.tick(60_000);
  assert.deepEqual(seen.closed, ['replaced']);
  assert.equal(sockets.length, 2);
});

test('an action taken while the socket is away is done after the resume, unless it is old', () => {
  const { signal } = joined();
  sockets[0].drop();
  signal.act({ type: 'admit', participant: 'p2' });
  assert.equal(signal.send({ type: 'stats' }), false);
  mock.timers.tick(0);
  sockets[1].open();
  sockets[1].say(welcome({ resumed: true }));
  assert.deepEqual(sockets[1].sent.slice(1), [{ type: 'admit', participant: 'p2' }]);

  sockets[1].drop();
  signal.act({ type: 'end' });
  mock.timers.tick(0);
  sockets[2].drop();
  mock.timers.setTime(Date.now() + 10_001);
  mock.timers.tick(250);
  sockets.at(-1).open();
  sockets.at(-1).say(welcome({ resumed: true }));
  assert.deepEqual(sockets.at(-1).sent.map(({ type }) => type), ['join']);
});

test('leaving says so and does not come back', () => {
  const { signal, seen } = joined();
  signal.leave();
  mock.timers.tick(60_000);
  assert.deepEqual(sockets[0].sent.at(-1), { type: 'leave' });
  assert.deepEqual(seen.closed, ['left']);
  assert.equal(sockets.length, 1);
});

test('who leaves while coming back is gone as well, without waiting for the welcome', () => {
  const { signal } = joined();
  sockets[0].drop();
  mock.timers.tick(0);
  signal.farewell();
  assert.deepEqual(sockets[1].sent, [], 'nobody listens yet');
  sockets[1].open();
  signal.leave();
  assert.deepEqual(sockets[1].sent.map(({ type }) => type), ['join', 'leave']);
  signal.farewell();
  assert.equal(sockets[1].sent.length, 2);
});

test('a rejoin starts a new session', () => {
  const { signal } = joined();
  signal.rejoin();
  mock.timers.tick(0);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent, [{ type: 'join', token: 'T' }]);
});

test('a rejoin whose token has expired goes on with the session there was', () => {
  const { signal, seen } = joined();
  const refuse = (code) => {
    sockets.at(-1).say({ type: 'error', code, message: 'm' });
    sockets.at(-1).drop(4401);
  };
  const joins = () => {
    mock.timers.tick(2500);
    sockets.at(-1).open();
    return sockets.at(-1).sent;
  };
  signal.rejoin();
  assert.deepEqual(joins(), [{ type: 'join', token: 'T' }]);
  refuse('token-expired');
  assert.deepEqual(joins(), [{ type: 'join', token: 'T', resume: 's1' }]);
  sockets.at(-1).say(welcome({ resumed: true }));
  signal.rejoin();
  assert.deepEqual(joins(), [{ type: 'join', token: 'T', resume: 's1' }], 'there is no use in another attempt');
  refuse('token-expired'); // the session is gone
  assert.deepEqual(seen.closed, ['token-expired']);
});

test('a nudge skips the waiting time, and tests a socket that looks open', () => {
  const { signal } = joined();
  signal.nudge();
  assert.equal(sockets[0].sent.at(-1).type, 'ping');
  sockets[0].drop();
  mock.timers.tick(0);
  sockets[1].drop();
  signal.nudge();
  assert.equal(sockets.length, 3);
  mock.timers.tick(250);
  assert.equal(sockets.length, 3);
});

test('garbage from the socket is ignored', () => {
  const { signal } = joined();
  sockets[0].onmessage({ data: '{' });
  sockets[0].onmessage({ data: 'null' });
  sockets[0].onmessage({ data: '7' });
  sockets[0].say({ type: 'from-the-future' });
  assert.equal(signal.state, 'open');
});

test('a join carries the round trips known by then', () => {
  const roundTrips = {};
  const signal = new Signal({ url: 'wss://host/v1/signal', token: 'T', roundTrips, dial: (url, protocol) => new FakeSocket(url, protocol) });
  signal.connect();
  roundTrips.north = 12.3;
  sockets[0].open();
  assert.deepEqual(sockets[0].sent, [{ type: 'join', token: 'T', rtt: { north: 12.3 } }]);
});

const listed = { gateways: [{ id: 'a', region: 'east', url: 'https://host' }, { id: 'b', region: 'east', url: 'https://other' }] };

function joinedWithTwo() {
  const visit = start();
  sockets[0].open();
  sockets[0].say(welcome(listed));
  return visit;
}

test('a gateway that says nothing is left for another, where the session goes on', () => {
  const { signal } = joinedWithTwo();
  mock.timers.tick(1000); // the ping
  mock.timers.tick(2000); // no pong
  assert.equal(signal.state, 'reconnecting');
  mock.timers.tick(0);
  assert.equal(sockets[1].url, 'wss://host/v1/signal');
  mock.timers.tick(400);
  assert.equal(sockets[2].url, 'wss://other/v1/signal');
  sockets[2].open();
  assert.deepEqual(sockets[2].sent, [{ type: 'join', token: 'T', resume: 's1' }]);
  sockets[2].say(welcome({ resumed: true, ...listed }));
  assert.equal(signal.state, 'open');
  assert.ok(sockets[1].closed);
  sockets[2].drop();
  mock.timers.tick(0);
  assert.equal(sockets[3].url, 'wss://other/v1/signal', 'the one that worked comes first');
});

test('a gateway that is gone is left at once', () => {
  joinedWithTwo();
  sockets[0].drop();
  mock.timers.tick(0);
  sockets[1].drop();
  assert.equal(sockets[2].url, 'wss://other/v1/signal');
});

test('a gateway that stops, does not welcome or has no records is tried after the others', () => {
  joinedWithTwo();
  sockets[0].say({ type: 'bye', code: 'shutdown', retry: true });
  mock.timers.tick(0);
  assert.equal(sockets[1].url, 'wss://other/v1/signal');
  sockets[1].open();
  sockets[1].say(welcome({ resumed: true, ...listed }));

  sockets[1].drop();
  mock.timers.tick(0);
  sockets[2].open();
  mock.timers.tick(4000);
  mock.timers.tick(250);
  assert.equal(sockets[3].url, 'wss://host/v1/signal');
  sockets[3].open();
  sockets[3].say(welcome({ resumed: true, ...listed }));

  sockets[3].drop();
  mock.timers.tick(0);
  sockets[4].open();
  sockets[4].say({ type: 'error', code: 'unavailable', message: 'later', about: 'join' });
  sockets[4].drop(1013);
  mock.timers.tick(250);
  assert.equal(sockets[5].url, 'wss://other/v1/signal');
});

test('the newest list counts', () => {
  joinedWithTwo();
  sockets[0].say({ type: 'gateways', gateways: [{ id: 'c', region: 'west', url: 'https://third' }] });
  sockets[0].drop();
  mock.timers.tick(0);
  sockets[1].drop();
  assert.equal(sockets[2].url, 'wss://third/v1/signal');
});

test('a check shortens the wait for what is missing, and finds nothing wrong if something comes', () => {
  const { signal } = joined();
  mock.timers.tick(1000);
  signal.check();
  mock.timers.tick(999);
  sockets[0].say({ type: 'speaker', leg: 1, epoch: 1, participant: 'p2' });
  mock.timers.tick(1);
  assert.equal(signal.state, 'open');
  signal.check();
  mock.timers.tick(1000);
  assert.equal(signal.state, 'reconnecting');
  signal.check();
});

test('a resume says which leg is the newest, a new session has none', () => {
  let leg = 0;
  const signal = new Signal({
    url: 'wss://host/v1/signal', token: 'T', leg: () => leg, dial: (url, protocol) => new FakeSocket(url, protocol), random: () => 0.5,
  });
  signal.connect();
  sockets[0].open();
  assert.deepEqual(sockets[0].sent, [{ type: 'join', token: 'T' }]);
  sockets[0].say(welcome());
  leg = 3;
  sockets[0].drop();
  mock.timers.tick(0);
  sockets[1].open();
  assert.deepEqual(sockets[1].sent, [{ type: 'join', token: 'T', resume: 's1', leg: 3 }]);
  signal.rejoin();
  mock.timers.tick(300);
  sockets.at(-1).open();
  assert.deepEqual(sockets.at(-1).sent, [{ type: 'join', token: 'T' }]);
});
