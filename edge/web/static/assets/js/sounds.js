import { h, play, streamOf } from './dom.js';

/**
 * @typedef {object} Sound
 * @property {MediaStreamTrack} track
 * @property {HTMLAudioElement} audio
 * @property {Sound | null} before what plays until this one's first packet
 * @property {boolean} stopped
 */

/**
 * Plays the others. While a participant moves to another leg both legs bring the same voice; the old
 * one plays until the new one has its first packet, so that nothing is heard twice or lost.
 */
export class Sounds {
  /** @param {() => void} blocked called when the browser wants a tap before it plays sound */
  constructor(blocked) {
    this.blocked = blocked;
    /** @type {Map<string, Sound>} */
    this.playing = new Map();
    this.element = h('div', { hidden: true });
  }

  /** @param {Map<string, MediaStreamTrack>} tracks by participant */
  update(tracks) {
    for (const sound of handOver(this.playing, tracks)) stop(sound);
    for (const [participant, sound] of this.playing) {
      if (tracks.has(participant) || sound.track.readyState === 'live') continue;
      stop(sound);
      this.playing.delete(participant);
    }
    for (const [participant, track] of tracks) {
      const current = this.playing.get(participant);
      if (current?.track === track) continue;
      const audio = h('audio', { autoplay: true });
      this.element.append(audio);
      const before = current?.before ?? current ?? null;
      const sound = { track, audio, before, stopped: false };
      if (current !== undefined && current !== before) {
        current.before = null; // which plays on for the new one
        stop(current);
      }
      this.playing.set(participant, sound);
      const start = () => {
        if (sound.stopped) return;
        if (sound.before !== null) stop(sound.before);
        sound.before = null;
        audio.srcObject = streamOf(track);
        play(audio, this.blocked);
      };
      if (before === null || !track.muted || before.track.readyState === 'ended') start();
      else track.addEventListener('unmute', start, { once: true });
    }
  }

  /** Tries again after a tap. */
  resume() {
    for (const sound of this.playing.values()) play((sound.before ?? sound).audio, this.blocked);
  }

  dispose() {
    for (const sound of this.playing.values()) stop(sound);
    this.playing.clear();
  }
}

/**
 * What plays a track that has become another participant's goes on playing it, for them; what plays until its first packet is
 * still the voice of whom it was.
 *
 * @template {{ track: MediaStreamTrack, before?: any }} T
 * @param {Map<string, T>} playing by participant
 * @param {Map<string, MediaStreamTrack>} tracks by participant
 * @returns {T[]} what plays nobody's track any more because of that
 */
export function handOver(playing, tracks) {
  const owners = new Map([...tracks].map(([participant, track]) => [track, participant]));
  const moved = [...playing].filter(([participant, { track }]) => (owners.get(track) ?? participant) !== participant);
  for (const [participant, sound] of moved) {
    playing.delete(participant);
    if (sound.before) playing.set(participant, sound.before);
    sound.before = null;
  }
  /** @type {T[]} */
  const over = [];
  for (const [, sound] of moved) {
    const owner = owners.get(sound.track) ?? '';
    const old = playing.get(owner);
    if (old !== undefined) over.push(old);
    playing.set(owner, sound);
  }
  return over;
}

/** @param {Sound} sound and with it what plays in its place */
function stop(sound) {
  if (sound.before !== null) stop(sound.before);
  sound.stopped = true;
  sound.audio.srcObject = null;
  sound.audio.remove();
}
