import assert from 'node:assert/strict';
import { test } from 'node:test';
import { problemOf } from '../static/assets/js/devices.js';
import { configuration, readChoice, relayKind } from '../static/assets/js/ice.js';
import { loudness } from '../static/assets/js/meter.js';
import { likelyPublishes, publishable } from '../static/assets/js/permissions.js';
import { level, score } from '../static/assets/js/quality.js';
import { applyOwn, withOpusDTX, withOpusNACK } from '../static/assets/js/sdp.js';
import { handOver } from '../static/assets/js/sounds.js';
import { match } from '../static/assets/js/subscriber.js';
import { ending, listed, personAndRole, personLabel, texts } from '../static/assets/js/texts.js';
import { initialsOf } from '../static/assets/js/tile.js';

const near = (actual, wanted, within) => assert.ok(Math.abs(actual - wanted) <= within, `${actual}, wanted ${wanted}`);

test('quality: a clean line is good, and each impairment makes it worse', () => {
  const clean = score({ rttMs: 20, jitterMs: 2, loss: 0, concealed: 0, frozen: 0 });
  near(clean, 4.4, 0.1);
  assert.equal(level(clean), 'good');
  for (const worse of [{ rttMs: 900 }, { jitterMs: 200 }, { loss: 0.1 }, { concealed: 0.3 }, { frozen: 0.4 }]) {
    assert.ok(score({ rttMs: 20, ...worse }) < clean - 0.5, JSON.stringify(worse));
  }
  assert.equal(level(score({ rttMs: 150, loss: 0.06 })), 'fair');
  assert.equal(level(score({ rttMs: 400, loss: 0.2 })), 'poor');
});

test('quality: the score stays within its scale, whatever was measured or not', () => {
  for (const measures of [{}, { rttMs: 1e9, loss: 1, frozen: 9, concealed: 1 }, { rttMs: 0 }]) {
    const value = score(measures);
    assert.ok(value >= 1 && value <= 4.5, `${value}`);
  }
});

test('ice: the query narrows the path and nothing else', () => {
  assert.deepEqual(readChoice('?ice=relay&turn=tls'), { relayOnly: true, turn: 'tls', codec: '' });
  assert.deepEqual(readChoice('?ice=all&turn=carrier-pigeon'), { relayOnly: false, turn: '', codec: '' });
  assert.equal(readChoice('?codec=vp9').codec, 'vp9');
  assert.equal(readChoice('?codec=h266').codec, '');
  const servers = [
    { urls: ['stun:r:3478'] },
    { urls: ['turn:r:3478?transport=udp', 'turn:r:3478?transport=tcp', 'turns:r:5349?transport=tcp'], username: 'u', credential: 'c' },
  ];
  assert.deepEqual(configuration(servers, { relayOnly: false, turn: '', codec: '' }).iceServers, servers);
  const tls = configuration(servers, { relayOnly: true, turn: 'tls' });
  assert.equal(tls.iceTransportPolicy, 'relay');
  assert.deepEqual(tls.iceServers[1].urls, ['turns:r:5349?transport=tcp']);
  assert.equal(tls.iceServers[1].credential, 'c');
  assert.deepEqual(configuration([{ urls: ['turn:r'] }], { relayOnly: false, turn: 'tcp' }).iceServers, []);
  assert.deepEqual(['turn:r', 'TURN:r?transport=tcp', 'turns:r', 'stun:r'].map(relayKind), ['udp', 'tcp', 'tls', '']);
});

test('sdp: Opus is asked for DTX once, other codecs are left alone', () => {
  const sdp = 'm=audio 9 UDP/TLS/RTP/SAVPF 111 63\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n';
  const once = withOpusDTX(sdp);
  assert.match(once, /a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1\r\n/);
  assert.match(once, /a=fmtp:63 111\/111\r\n/);
  assert.equal(withOpusDTX(once), once);
  assert.match(withOpusDTX('a=rtpmap:96 opus/48000/2\r\n'), /a=rtpmap:96 opus\/48000\/2\r\na=fmtp:96 usedtx=1\r\n/);
  assert.equal(withOpusDTX('a=rtpmap:96 VP8/90000\r\n'), 'a=rtpmap:96 VP8/90000\r\n');
});

test('sdp: lost packets of Opus are asked for, those of other codecs as the browser has it', () => {
  const sdp = 'a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 transport-cc\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\n';
  const once = withOpusNACK(sdp);
  assert.equal(once, sdp.replace('opus/48000/2\r\n', 'opus/48000/2\r\na=rtcp-fb:111 nack\r\n'));
  assert.equal(withOpusNACK(once), once);
});

test('sdp: a browser that takes no changed description applies its own', async () => {
  for (const [state, type] of [['stable', 'offer'], ['have-remote-offer', 'answer']]) {
    for (const strict of [false, true]) {
      const applied = [];
      const pc = {
        signalingState: state,
        createOffer: async () => ({ type: 'offer', sdp: 'a' }),
        createAnswer: async () => ({ type: 'answer', sdp: 'a' }),
        setLocalDescription: async (description) => {
          if (strict && description !== undefined) throw new Error('no munging');
          applied.push(description);
        },
      };
      await applyOwn(pc, (text) => `${text}b`);
      assert.deepEqual(applied, [strict ? undefined : { type, sdp: 'ab' }]);
    }
  }
});

test('subscriber: tracks are paired by mid, and only while they flow', () => {
  const transceiver = (mid, currentDirection) => ({ mid, currentDirection, receiver: { track: `track-${mid}` } });
  const remote = match(
    [transceiver('0', 'recvonly'), transceiver('1', 'inactive'), transceiver('2', 'recvonly')],
    [
      { mid: '0', source: 'camera', participant: 'p1' },
      { mid: '1', source: 'camera', participant: 'p2' },
      { mid: '2', source: 'microphone' },
      { mid: '9', source: 'camera', participant: 'p3' },
    ],
  );
  assert.deepEqual(remote.map(({ participant, track }) => [participant, track]), [['p1', 'track-0']]);
});

test('sounds: a track that changes hands is played by one element', () => {
  const [one, two] = [{ track: 't1' }, { track: 't2' }];
  const playing = new Map([['a', one], ['b', two]]);
  assert.deepEqual(handOver(playing, new Map([['a', 't2'], ['b', 't1']])), []);
  assert.deepEqual(playing, new Map([['a', two], ['b', one]]), 'two swap');
  assert.deepEqual(handOver(playing, new Map([['c', 't2'], ['b', 't1']])), []);
  assert.deepEqual(playing, new Map([['c', two], ['b', one]]), 'another takes over');
  assert.deepEqual(handOver(playing, new Map([['b', 't2']])), [one], 'what plays for nobody ends');
  assert.deepEqual(playing, new Map([['b', two]]));
  assert.deepEqual(handOver(playing, new Map([['b', 't3']])), [], 'a new track of the same participant is no handover');
  assert.deepEqual(playing, new Map([['b', two]]));
});

test('permissions: what may be published', () => {
  assert.deepEqual(publishable(['publish-audio', 'subscribe', 'publish-video']), ['microphone', 'camera']);
  assert.deepEqual(publishable(['subscribe']), []);
  assert.equal(likelyPublishes('scribe'), false);
  assert.equal(likelyPublishes(''), true);
});

test('devices: errors become what a person can act on', () => {
  const named = (name) => Object.assign(new Error('x'), { name });
  assert.deepEqual(
    ['NotAllowedError', 'NotFoundError', 'NotReadableError', 'TypeError'].map((name) => problemOf(named(name))),
    ['denied', 'none', 'busy', 'failed'],
  );
  assert.equal(problemOf(undefined), 'failed');
  assert.equal(problemOf({ name: 'OverconstrainedError' }), 'none', 'which is no Error in Safari');
});

test('meter: decibels from silence to loud', () => {
  assert.equal(loudness(new Float32Array(128)), 0);
  assert.equal(loudness(new Float32Array(0)), 0);
  assert.equal(loudness(new Float32Array(128).fill(1)), 1);
  near(loudness(new Float32Array(128).fill(0.022)), 0.5, 0.03);
});

test('texts: every end has words, and people without a name have a role', () => {
  for (const code of ['left', 'ended', 'removed', 'replaced', 'token-expired', 'token-signature', 'encounter-full', 'encounter-not-encrypted', 'something-new']) {
    const { title, text } = ending(code);
    assert.ok(title.length > 5 && text.length > 10, code);
  }
  assert.equal(personLabel({ role: 'patient' }), 'Patient');
  assert.equal(personLabel({ role: 'astronaut' }), 'Participant');
  assert.equal(personAndRole({ role: 'provider', name: 'Dr. A' }), 'Dr. A (Provider)');
  assert.equal(initialsOf('Dr. Amara Okafor'), 'AO');
  assert.equal(initialsOf('Patient'), 'P');
  assert.equal(initialsOf(''), '');
});

test('a crowd is named in one sentence', () => {
  assert.deepEqual([1, 2, 4, 5, 300].map((count) => listed(['Ada', 'Ben', 'Cy', 'Di', ...Array(296).fill('Ed')].slice(0, count))),
    ['Ada', 'Ada and Ben', 'Ada, Ben, Cy and Di', 'Ada, Ben, Cy and 2 others', 'Ada, Ben, Cy and 297 others']);
  assert.equal(texts.call.here(['Ada']), 'Ada is here.');
  assert.equal(texts.call.waits(['Ada', 'Ben']), 'Ada and Ben are waiting to be admitted.');
});
