import assert from 'node:assert/strict';
import { after, beforeEach, mock, test } from 'node:test';
import { Emitter } from '../static/assets/js/emitter.js';
import { Legs } from '../static/assets/js/legs.js';
import { watchNetwork } from '../static/assets/js/network.js';

/** A peer connection without a network: each ICE restart changes the credentials of the descriptions that follow. */
class FakePeerConnection {
  constructor() {
    Object.assign(this, { connectionState: 'new', iceConnectionState: 'new', signalingState: 'stable', generation: 1, closed: false });
    this.remoteDescription = this.localDescription = null;
    connections.push(this);
  }

  restartIce() {
    this.generation += 1;
  }

  addTransceiver() {
    return { mid: '0', sender: { replaceTrack() {} } };
  }

  getTransceivers() {
    return [];
  }

  async setLocalDescription() {
    this.localDescription = { sdp: `a=ice-ufrag:${this.generation}` };
    this.signalingState = this.signalingState === 'stable' ? 'have-local-offer' : 'stable';
  }

  async setRemoteDescription(description) {
    this.remoteDescription = description;
    this.signalingState = description.type === 'offer' ? 'have-remote-offer' : 'stable';
  }

  close() {
    this.closed = true;
  }
}

let connections = [];
globalThis.RTCPeerConnection = FakePeerConnection;
after(() => { delete globalThis.RTCPeerConnection; });

const route = { leg: 1, epoch: 1 };
let now = 5000;
mock.method(performance, 'now', () => now);

/** A page with one leg that has published and subscribed; what it says is in `said` as long as it has a socket. */
async function page() {
  const said = [];
  const signal = new Emitter();
  signal.online = true;
  signal.send = (message) => signal.online && said.push(message) > 0;
  signal.act = signal.send;
  const media = new Emitter();
  Object.assign(media, { tracks: { microphone: {}, camera: null, screen: null }, sending: () => ({ audio: true, video: false, screen: false }) });
  const legs = new Legs(signal, media, { relayOnly: false, turn: '' });
  legs.allowed = ['microphone'];
  legs.place({ ...route, region: 'east', sfu: 'sfu-1', ice_servers: null });
  await settle();
  hears(signal, { type: 'answer', ...route, pc: 'publish', negotiation: 1, sdp: '' });
  hears(signal, { type: 'offer', ...route, pc: 'subscribe', negotiation: 4, sdp: '' });
  await settle();
  said.length = 0;
  return { legs, signal, said, leg: legs.current };
}

const hears = (signal, message) => signal.emit(message.type, message);
const settle = () => new Promise((resolve) => { setImmediate(resolve); });

beforeEach(() => {
  connections = [];
  now += 60_000;
});

test('a restart offers anew on publish and asks for an offer on subscribe', async () => {
  const { legs, said } = await page();
  legs.restartICE();
  await settle();
  assert.deepEqual(said.map(({ type }) => type), ['restart-ice', 'offer']);
  assert.deepEqual(said[0], { type: 'restart-ice', ...route, negotiation: 4 });
  assert.equal(said[1].negotiation, 2);
  assert.match(said[1].sdp, /ice-ufrag:2/);
  assert.deepEqual(said[1].tracks, [{ mid: '0', source: 'microphone' }], 'the same tracks');
  assert.equal(connections.length, 2, 'on the same connections');
});

test('a session that is over is deaf to the devices', async () => {
  const { legs } = await page();
  legs.end();
  assert.ok(connections.every(({ closed }) => closed));
  for (const type of ['track', 'state']) assert.equal(legs.media.handlers.get(type).size, 0, type);
});

test('what tells of one change of networks several times restarts once', async () => {
  const { legs, said } = await page();
  legs.restartICE();
  now += 900;
  legs.restartICE();
  await settle();
  assert.equal(said.filter(({ type }) => type === 'restart-ice').length, 1);
  now += 100;
  legs.restartICE();
  assert.equal(said.filter(({ type }) => type === 'restart-ice').length, 2);
});

test('a restart that was lost with the socket is said again after the resume, until there is an offer', async () => {
  const { legs, signal, said } = await page();
  signal.online = false;
  legs.restartICE();
  await settle();
  assert.deepEqual(said, []);
  signal.online = true;
  legs.resume();
  const restarts = () => said.filter(({ type, pc }) => type === 'restart-ice' || type === 'offer' && pc === 'publish');
  assert.deepEqual(restarts().map(({ type, negotiation }) => [type, negotiation]), [['offer', 2], ['restart-ice', 4]]);
  hears(signal, { type: 'offer', ...route, pc: 'subscribe', negotiation: 5, sdp: '' });
  hears(signal, { type: 'answer', ...route, pc: 'publish', negotiation: 2, sdp: '' });
  await settle();
  said.length = 0;
  legs.resume();
  assert.deepEqual(restarts(), []);
  now += 5000;
  legs.resume(true);
  await settle();
  assert.deepEqual(restarts().map(({ type, negotiation }) => [type, negotiation]), [['restart-ice', 5], ['offer', 3]], 'media is still lost');
});

test('a restart while an offer is out waits for its answer', async () => {
  const { legs, signal, said } = await page();
  legs.restartICE();
  await settle();
  now += 2000;
  legs.restartICE();
  await settle();
  const offers = () => said.filter(({ type }) => type === 'offer').map(({ negotiation }) => negotiation);
  assert.deepEqual(offers(), [2]);
  hears(signal, { type: 'answer', ...route, pc: 'publish', negotiation: 2, sdp: '' });
  await settle();
  assert.deepEqual(offers(), [2, 3]);
});

test('where nothing was negotiated there is nothing to restart', async () => {
  const { legs, said } = await page();
  legs.allowed = [];
  legs.place({ leg: 2, epoch: 2, region: 'east', sfu: 'sfu-2', ice_servers: null });
  legs.open.delete(1);
  await settle();
  said.length = 0;
  legs.restartICE();
  legs.current.close();
  now += 2000;
  legs.restartICE();
  await settle();
  assert.deepEqual(said, []);
});

test('a path that is back is told, so that nobody reads of a loss that is over', async () => {
  const { legs, leg } = await page();
  let told = 0;
  legs.on('connected', () => { told += 1; });
  for (const expected of [1, 2]) {
    for (const pc of connections) pc.connectionState = 'connected';
    leg.publisher.pc.onconnectionstatechange();
    await settle();
    assert.equal(told, expected);
    leg.publisher.pc.connectionState = 'disconnected';
    leg.publisher.pc.onconnectionstatechange();
  }
});

test('the browser tells of a network that came, or is of another kind', () => {
  const [target, connection] = [new EventTarget(), new EventTarget()];
  connection.type = 'wifi';
  let changes = 0;
  watchNetwork(() => { changes += 1; }, target, connection);
  target.dispatchEvent(new Event('online'));
  assert.equal(changes, 1);
  const becomes = (type) => {
    connection.type = type;
    connection.dispatchEvent(new Event('change'));
    return changes;
  };
  assert.equal(becomes('wifi'), 1, 'only its speed is another');
  assert.equal(becomes('none'), 1, 'there is nothing to try on');
  assert.equal(becomes('cellular'), 2);
  assert.equal(becomes('wifi'), 3);
  watchNetwork(() => { changes += 1; }, target, null);
  target.dispatchEvent(new Event('online'));
  assert.equal(changes, 5, 'browsers without that know of being online');
});
