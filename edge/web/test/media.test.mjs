import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import { LocalMedia } from '../static/assets/js/media.js';

class FakeTrack {
  constructor(kind, id) {
    Object.assign(this, { kind, id, readyState: 'live', enabled: true, muted: false, onended: null });
  }

  stop() {
    this.readyState = 'ended';
  }
}

/** Requests for devices that nobody has answered yet, oldest first. */
let asked = [];

function getUserMedia({ audio, video }) {
  return new Promise((resolve, reject) => {
    const id = (audio ?? video).deviceId?.exact ?? '';
    const opens = () => {
      const track = new FakeTrack(audio ? 'audio' : 'video', id);
      resolve({ getTracks: () => [track], getAudioTracks: () => [], getVideoTracks: () => [] });
      return track;
    };
    asked.push({ id, opens, fails: (name) => reject(Object.assign(new Error(name), { name })) });
  });
}

Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { mediaDevices: { getUserMedia } } });
beforeEach(() => { asked = []; });

const settle = () => new Promise((resolve) => { setImmediate(resolve); });

/** Answers a request and waits until that was taken in. */
async function answered(done, request, how = (it) => it.opens()) {
  const track = how(request);
  await done;
  return track;
}

/** Media with a microphone and a camera that work. */
async function working() {
  const media = new LocalMedia();
  const problems = [];
  media.on('problem', ({ source, code }) => problems.push(`${source} ${code}`));
  for (const source of ['microphone', 'camera']) {
    const done = media.choose(source, `first ${source}`);
    await answered(done, asked.shift());
  }
  return { media, problems };
}

for (const source of ['microphone', 'camera']) {
  test(`${source}: of two that are chosen quickly the last one is used, whichever opens first`, async () => {
    const { media } = await working();
    const slow = media.choose(source, 'passed by');
    const fast = media.choose(source, 'wanted');
    const wanted = await answered(fast, asked[1]);
    const other = await answered(slow, asked[0]);
    assert.equal(media.tracks[source], wanted);
    assert.deepEqual([wanted.readyState, other.readyState, media.chosen[source]], ['live', 'ended', 'wanted']);
  });

  test(`${source}: one that does not open is not asked for again`, async () => {
    const { media, problems } = await working();
    await answered(media.choose(source, 'busy'), asked[0], (it) => it.fails('NotReadableError'));
    assert.deepEqual([problems, media.chosen[source]], [[`${source} busy`], `first ${source}`]);
  });
}

test('a microphone that works goes on when another one does not open', async () => {
  const { media } = await working();
  const { microphone } = media.tracks;
  await answered(media.choose('microphone', 'busy'), asked[0], (it) => it.fails('NotReadableError'));
  assert.equal(media.tracks.microphone, microphone);
  assert.deepEqual([microphone.readyState, media.sending().audio], ['live', true]);
});

test('a microphone that is unplugged is gone when there is no other', async () => {
  const { media, problems } = await working();
  const { microphone } = media.tracks;
  microphone.stop();
  microphone.onended();
  asked[0].fails('NotFoundError');
  await settle();
  assert.deepEqual([media.tracks.microphone, problems], [null, ['microphone none']]);
});

for (const [source, sent] of [['microphone', 'audio'], ['camera', 'video']]) {
  test(`${source}: one that a phone call has taken is not said to be on until it is back`, async () => {
    const { media } = await working();
    const track = media.tracks[source];
    const told = [];
    media.on('state', () => told.push(media.sending()[sent]));
    const interrupt = (/** @type {boolean} */ muted) => {
      track.muted = muted;
      (muted ? track.onmute : track.onunmute)?.();
    };
    interrupt(true);
    interrupt(false);
    assert.deepEqual(told, [false, true]);
    interrupt(true);
    const done = source === 'camera' ? media.toggleCamera() : media.setMuted(media.sending().audio);
    const other = await answered(done, asked.shift());
    assert.deepEqual([media.tracks[source], track.readyState, media.sending()[sent]], [other, 'ended', true], 'a press on the button asks for it again');
  });
}

test('a camera that is still being opened is cancelled by a second press, and opened by a third', async () => {
  const { media } = await working();
  await media.toggleCamera();
  assert.equal(media.sending().video, false);
  const first = media.toggleCamera();
  await media.toggleCamera();
  assert.equal(asked.length, 1);
  const cancelled = await answered(first, asked.shift());
  assert.deepEqual([cancelled.readyState, media.sending().video], ['ended', false]);
  const slow = media.toggleCamera();
  await media.toggleCamera();
  const last = media.toggleCamera();
  const wanted = await answered(last, asked[1]);
  const dropped = await answered(slow, asked[0]);
  assert.deepEqual([media.tracks.camera, wanted.readyState, dropped.readyState], [wanted, 'live', 'ended']);
});

/** Both devices are refused at the first question, and what is told of that. */
function refusedTogether() {
  const media = new LocalMedia();
  const problems = [];
  media.on('problem', ({ source, code }) => problems.push(`${source} ${code}`));
  const done = media.start();
  asked.shift().fails('NotAllowedError');
  return { media, problems, done };
}

test('somebody who allows on second thought has no problem', async () => {
  const { media, problems, done } = refusedTogether();
  for (const source of ['microphone', 'camera']) {
    await settle();
    asked.shift().opens();
    assert.equal(media.tracks[source], null, 'both are told together');
  }
  await done;
  assert.deepEqual([problems, media.sending()], [[], { audio: true, video: true, screen: false }]);
});

test('what is missing at the start is told to whoever listens then', async () => {
  for (const [missing, told] of [[['microphone', 'camera'], 'both denied'], [['microphone'], 'microphone denied'], [['camera'], 'camera denied']]) {
    const { media, problems, done } = refusedTogether();
    for (const source of ['microphone', 'camera']) {
      await settle();
      if (missing.includes(source)) asked.shift().fails('NotAllowedError');
      else asked.shift().opens();
    }
    await done;
    assert.deepEqual(problems, [told]);
  }
});

test('another camera is opened when the one before could not be', async () => {
  const { media, problems, done } = refusedTogether();
  for (const how of [(it) => it.opens(), (it) => it.fails('NotReadableError')]) {
    await settle();
    how(asked.shift());
  }
  await done;
  assert.deepEqual(problems, ['camera busy']);
  const other = await answered(media.choose('camera', 'other'), asked.shift());
  assert.equal(media.tracks.camera, other);
  await answered(media.choose('camera', 'busy'), asked.shift(), (it) => it.fails('NotReadableError'));
  assert.equal(media.tracks.camera, null);
  const again = await answered(media.choose('camera', 'other'), asked.shift());
  assert.equal(media.tracks.camera, again);
});

test('a camera that was turned off stays off whichever is chosen', async () => {
  const { media } = await working();
  await media.setCamera(false);
  await media.choose('camera', 'other');
  assert.deepEqual([asked.length, media.chosen.camera], [0, 'other']);
});

test('a screen that the system does not give is a problem, one that the person does not is none', async () => {
  for (const [name, message, told] of [
    ['NotAllowedError', 'Permission denied by user', []],
    ['NotAllowedError', 'Permission denied by system', ['screen denied']],
    ['NotReadableError', 'Could not start video source', ['screen busy']],
  ]) {
    const { media, problems } = await working();
    navigator.mediaDevices.getDisplayMedia = async () => { throw Object.assign(new Error(message), { name }); };
    assert.equal(await media.shareScreen(), false);
    assert.deepEqual(problems, told);
  }
});

test('what opens after the end of the visit is closed at once', async () => {
  const { media } = await working();
  const done = media.choose('microphone', 'late');
  media.stop();
  const track = await answered(done, asked[0]);
  assert.deepEqual([track.readyState, media.tracks.microphone], ['ended', null]);
});
