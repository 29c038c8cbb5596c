import { Emitter } from './emitter.js';
import * as devices from './devices.js';

/**
 * The local microphone, camera and screen. A muted microphone keeps its track and sends silence; a
 * camera that is off is really off, so that its light goes out.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {{ track: { source: Source, track: MediaStreamTrack | null }, state: void,
 *   problem: { source: Source | 'both', code: devices.Problem }, devices: void }} MediaEvents
 *
 * @extends {Emitter<MediaEvents>}
 */
export class LocalMedia extends Emitter {
  constructor() {
    super();
    /** @type {Record<Source, MediaStreamTrack | null>} */
    this.tracks = { microphone: null, camera: null, screen: null };
    /** @type {{ microphone: string, camera: string }} the devices of choice, '' for the system's */
    this.chosen = { microphone: '', camera: '' };
    this.muted = false;
    /** Whether nobody turned the camera off; one that cannot be opened may give way to another. */
    this.cameraWanted = true;
    /** Counts stops: a device that opens after one is closed again at once. */
    this.generation = 0;
    /** Counts what was asked for: of two devices that were, the later one is used. */
    this.asked = { microphone: 0, camera: 0 };
    /** Cameras that are being opened. */
    this.opening = 0;
    navigator.mediaDevices?.addEventListener?.('devicechange', () => this.emit('devices', undefined));
  }

  /** What is sent on purpose. */
  sending() {
    return {
      audio: this.#has('microphone') && !this.muted,
      video: this.#has('camera'),
      screen: this.tracks.screen !== null,
    };
  }

  /** Opens microphone and camera together, so that the browser asks once. */
  async start() {
    const { generation } = this;
    this.cameraWanted = true;
    const { microphone, camera, problem, source } = await devices.openBoth(this.chosen);
    if (generation !== this.generation) {
      microphone?.stop();
      camera?.stop();
      return;
    }
    this.#set('microphone', microphone);
    this.#set('camera', camera);
    this.emit('state', undefined);
    this.emit('devices', undefined);
    if (problem !== '') this.emit('problem', { source, code: problem });
  }

  /** @param {boolean} muted */
  async setMuted(muted) {
    this.muted = muted;
    if (!muted && !this.#has('microphone')) await this.#open('microphone');
    if (this.tracks.microphone !== null) this.tracks.microphone.enabled = !muted;
    this.emit('state', undefined);
  }

  /** Whether there is one that the system, as with a phone call, has not taken away.
   * @param {'microphone' | 'camera'} source */
  #has(source) {
    return this.tracks[source]?.muted === false;
  }

  /** @param {boolean} on */
  async setCamera(on) {
    this.cameraWanted = on;
    if (!on) this.#set('camera', null);
    else if (!this.#has('camera')) await this.#open('camera');
    this.emit('state', undefined);
  }

  /** Turns the camera off, or on; one that is still being opened is off again before it is on. */
  async toggleCamera() {
    const coming = this.cameraWanted && this.opening > 0;
    await this.setCamera(!this.#has('camera') && !coming);
  }

  /**
   * Changes a device, also in the middle of a call.
   *
   * @param {'microphone' | 'camera'} source
   * @param {string} id
   */
  async choose(source, id) {
    if (source === 'camera' && !this.cameraWanted) {
      this.chosen[source] = id;
      return;
    }
    await this.#open(source, id);
    this.emit('state', undefined);
  }

  async shareScreen() {
    const { generation } = this;
    const { track, problem } = await devices.openScreen();
    if (generation !== this.generation) track?.stop();
    else if (track !== null) this.#set('screen', track);
    else if (problem !== '') this.emit('problem', { source: 'screen', code: problem });
    this.emit('state', undefined);
    return track !== null;
  }

  stopScreen() {
    this.#set('screen', null);
    this.emit('state', undefined);
  }

  stop() {
    this.generation += 1;
    for (const source of /** @type {Source[]} */ (['microphone', 'camera', 'screen'])) this.#set(source, null);
  }

  /**
   * @param {'microphone' | 'camera'} source
   * @param {string} [id]
   */
  async #open(source, id = this.chosen[source]) {
    if (source === 'camera') this.#release('camera');
    const { generation } = this;
    const asked = this.asked[source] += 1;
    this.opening += Number(source === 'camera');
    const { track, problem } = await devices.open(source, id);
    this.opening -= Number(source === 'camera');
    if (generation !== this.generation || asked !== this.asked[source]) return track?.stop();
    if (track === null) {
      // The microphone in use before goes on.
      if (this.tracks[source]?.readyState !== 'live') this.#set(source, null);
      this.emit('problem', { source, code: problem });
      this.emit('devices', undefined);
      return;
    }
    this.chosen[source] = id;
    if (source === 'camera' && !this.cameraWanted) return track.stop();
    this.#set(source, track);
  }

  /** Phones open one camera at a time: the old one has to go before the new one is asked for.
   * @param {Source} source */
  #release(source) {
    const track = this.tracks[source];
    if (track === null) return;
    track.onended = track.onmute = track.onunmute = null;
    track.stop();
  }

  /**
   * @param {Source} source
   * @param {MediaStreamTrack | null} track
   */
  #set(source, track) {
    if (this.tracks[source] === track) return;
    this.#release(source);
    this.tracks[source] = track;
    if (track !== null) {
      if (source === 'microphone') track.enabled = !this.muted;
      if (source !== 'screen') track.onmute = track.onunmute = () => this.emit('state', undefined);
      track.onended = () => void this.#ended(source);
    }
    this.emit('track', { source, track });
  }

  /** A device was unplugged, or sharing was stopped from the browser's own bar. @param {Source} source */
  async #ended(source) {
    if (source === 'screen') return this.stopScreen();
    this.chosen[source] = '';
    await this.#open(source);
    this.emit('state', undefined);
    this.emit('devices', undefined);
  }
}
