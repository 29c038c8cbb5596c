/**
 * Access to cameras, microphones and screens, with errors reduced to what a person can act on.
 *
 * @typedef {'denied' | 'none' | 'busy' | 'insecure' | 'unsupported' | 'failed'} Problem
 */

/** @type {MediaTrackConstraints} */
const CAMERA = { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30, max: 30 } };
/** @type {MediaTrackConstraints} */
const MICROPHONE = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

/**
 * @param {unknown} error what getUserMedia threw
 * @returns {Problem}
 */
export function problemOf(error) {
  const name = /** @type {{ name?: unknown } | null | undefined} */ (error)?.name; // OverconstrainedError is no Error in Safari
  if (name === 'NotAllowedError' || name === 'SecurityError') return 'denied';
  if (name === 'NotFoundError' || name === 'OverconstrainedError') return 'none';
  if (name === 'NotReadableError' || name === 'AbortError') return 'busy';
  return 'failed';
}

/** Why pages get no devices at all: they came by plain HTTP, or are shown in an app that has none for them. @returns {Problem} */
function without() {
  return globalThis.isSecureContext === false ? 'insecure' : 'unsupported';
}

/**
 * @param {'microphone' | 'camera'} source
 * @param {string} id '' means the system's default
 * @returns {MediaTrackConstraints}
 */
function constraints(source, id) {
  const base = source === 'camera' ? CAMERA : MICROPHONE;
  if (id !== '') return { ...base, deviceId: { exact: id } };
  return source === 'camera' ? { ...base, facingMode: 'user' } : base;
}

/**
 * @param {'microphone' | 'camera'} source
 * @param {string} id
 * @returns {Promise<{ track: MediaStreamTrack, problem: Problem } | { track: null, problem: Problem }>}
 */
export async function open(source, id) {
  if (navigator.mediaDevices?.getUserMedia === undefined) return { track: null, problem: without() };
  try {
    const wanted = constraints(source, id);
    const stream = await navigator.mediaDevices.getUserMedia(
      source === 'camera' ? { video: wanted } : { audio: wanted },
    );
    return { track: prepare(stream.getTracks()[0] ?? null), problem: 'failed' };
  } catch (error) {
    const problem = problemOf(error);
    // A remembered device that is gone should not stand in the way of one that is there.
    if (problem === 'none' && id !== '') return open(source, '');
    return { track: null, problem };
  }
}

/**
 * @param {{ microphone: string, camera: string }} chosen
 * @returns {Promise<{ microphone: MediaStreamTrack | null, camera: MediaStreamTrack | null, problem: Problem | '', source: 'microphone' | 'camera' | 'both' }>}
 *   source: which of them has the problem
 */
export async function openBoth(chosen) {
  if (navigator.mediaDevices?.getUserMedia === undefined) return { microphone: null, camera: null, problem: without(), source: 'both' };
  try {
    const stream = await navigator.mediaDevices.getUserMedia({
      audio: constraints('microphone', chosen.microphone),
      video: constraints('camera', chosen.camera),
    });
    return {
      microphone: prepare(stream.getAudioTracks()[0] ?? null),
      camera: prepare(stream.getVideoTracks()[0] ?? null),
      problem: '',
      source: 'both',
    };
  } catch {
    return openSingly(chosen);
  }
}

/**
 * One missing or busy device must not take the other with it.
 *
 * @param {{ microphone: string, camera: string }} chosen
 * @returns {ReturnType<typeof openBoth>}
 */
async function openSingly(chosen) {
  const microphone = await open('microphone', chosen.microphone);
  const camera = await open('camera', chosen.camera);
  const devices = { microphone: microphone.track, camera: camera.track };
  if (microphone.track !== null && camera.track !== null) return { ...devices, problem: '', source: 'both' };
  if (microphone.track !== null) return { ...devices, problem: camera.problem, source: 'camera' };
  if (camera.track !== null) return { ...devices, problem: microphone.problem, source: 'microphone' };
  if (microphone.problem === camera.problem) return { ...devices, problem: camera.problem, source: 'both' };
  // Somebody can do more about a device that is there.
  if (microphone.problem === 'none') return { ...devices, problem: camera.problem, source: 'camera' };
  return { ...devices, problem: microphone.problem, source: 'microphone' };
}

/** Whether this browser can share a screen; phones cannot. */
export function canShareScreen() {
  return typeof navigator.mediaDevices?.getDisplayMedia === 'function';
}

/** @returns {Promise<{ track: MediaStreamTrack | null, problem: Problem | '' }>} neither when the person changed their mind */
export async function openScreen() {
  try {
    const stream = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 10, max: 15 } } });
    const track = stream.getVideoTracks()[0] ?? null;
    // Text and images have to stay readable, even at the price of fewer frames.
    if (track !== null) track.contentHint = 'detail';
    return { track, problem: '' };
  } catch (error) {
    const problem = problemOf(error);
    // Who closes the browser's dialog says no as well; only Chromium tells the two apart.
    const changedMind = problem === 'denied' && !/by system/i.test(error instanceof Error ? error.message : '');
    return { track: null, problem: changedMind ? '' : problem };
  }
}

/** @returns {Promise<{ microphone: MediaDeviceInfo[], camera: MediaDeviceInfo[] }>} without an id as long as the browser may not use them */
export async function list() {
  const all = (await navigator.mediaDevices?.enumerateDevices?.().catch(() => [])) ?? [];
  const real = all.filter((device) => device.deviceId !== 'communications');
  return {
    microphone: real.filter((device) => device.kind === 'audioinput'),
    camera: real.filter((device) => device.kind === 'videoinput'),
  };
}

/**
 * @template {MediaStreamTrack | null} T
 * @param {T} track
 * @returns {T}
 */
function prepare(track) {
  if (track !== null) track.contentHint = track.kind === 'audio' ? 'speech' : 'motion';
  return track;
}
