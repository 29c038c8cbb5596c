import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';
import { Encryption } from '../static/assets/js/encryption.js';

/** As much of a worker as a shield uses. */
class FakeWorker {
  said = [];
  ended = false;

  constructor() {
    workers.push(this);
  }

  postMessage(message) {
    this.said.push(message);
  }

  terminate() {
    this.ended = true;
  }
}

let workers = [];
beforeEach(() => { workers = []; });
Object.assign(globalThis, {
  Worker: FakeWorker, RTCRtpScriptTransform: class {},
  RTCRtpTransceiver: class { setCodecPreferences() {} },
});
after(() => { for (const name of ['Worker', 'RTCRtpScriptTransform', 'RTCRtpTransceiver']) delete globalThis[name]; });

const said = [];
const quits = [];
const encryption = (promised) => new Encryption({ on() {}, send: (message) => said.push(message) }, {}, promised, { call: () => null, quit: (code) => quits.push(code) });
const welcome = (e2ee) => ({ e2ee, resumed: false, you: { encounter: 'e1', participant: 'p1' } });
const settle = () => new Promise((resolve) => { setTimeout(resolve, 20); });

test('who was promised an encrypted visit does not stay in one that is not, whatever the server says', () => {
  assert.equal(encryption(true).welcome(welcome(false)), 'encounter-not-encrypted');
  assert.equal(encryption(false).welcome(welcome(false)), '');
});

test('a visit that was encrypted stays so', () => {
  const visit = encryption(false);
  visit.shield = {};
  assert.equal(visit.welcome(welcome(false)), 'e2ee-lost');
});

for (const promised of [true, false]) {
  test(`a new session needs nothing of the server that the page came from, ${promised ? 'nor does the first' : 'once it is encrypted'}`, async () => {
    const visit = encryption(promised);
    assert.equal(workers.length, Number(promised));
    visit.welcome(welcome(true));
    assert.equal(workers.length, 1);
    const [worker] = workers;
    worker.onmessage({ data: { type: 'ready' } });
    const first = visit.shield;
    await first.exchange;
    visit.welcome(welcome(true));
    const second = visit.shield;
    const keys = await second.exchange;
    assert.equal(workers.length, 1);
    assert.notEqual(keys.own.key, (await first.exchange).own.key);
    assert.deepEqual(worker.said.map(({ type }) => type), ['self', 'send-key', 'self', 'send-key']);

    const told = [];
    second.on('undecryptable', (participants) => told.push([...participants]));
    const [{ session: before }, { session: now }] = worker.said.filter(({ type }) => type === 'self');
    for (const session of [before, now]) worker.onmessage({ data: { type: 'health', session, participant: 'p2', opens: false } });
    assert.deepEqual(told, [['p2']], 'what is told of the session before is no news');
    said.length = 0;
    await first.announce();
    assert.deepEqual(said, [], 'a session that is over says nothing');
    visit.dispose();
    assert.ok(worker.ended);
  });
}

test('a worker that cannot be loaded ends the attempt, not the browser\'s good name', async () => {
  quits.length = 0;
  const visit = encryption(true);
  workers[0].onerror?.({});
  visit.welcome(welcome(true));
  await settle();
  assert.deepEqual(quits, ['e2ee-failed']);
  visit.dispose();
});
