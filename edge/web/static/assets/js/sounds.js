import { h, play, streamOf } from './dom.js';

/**
 * Plays the others. While a participant moves to another leg both legs bring the same voice; the old
 * one plays until the new one has its first packet, so that nothing is heard twice or lost.
 */
export class Sounds {
  /** @param {() => void} blocked called when the browser wants a tap before it plays sound */
  constructor(blocked) {
    this.blocked = blocked;
    /** @type {Map<string, { track: MediaStreamTrack, audio: HTMLAudioElement }>} */
    this.playing = new Map();
    this.element = h('div', { hidden: true });
  }

  /** @param {Map<string, MediaStreamTrack>} tracks by participant */
  update(tracks) {
    for (const { audio } of handOver(this.playing, tracks)) stop(audio);
    for (const [participant, { track, audio }] of this.playing) {
      if (tracks.has(participant) || track.readyState === 'live') continue;
      stop(audio);
      this.playing.delete(participant);
    }
    for (const [participant, track] of tracks) {
      const current = this.playing.get(participant);
      if (current?.track === track) continue;
      const audio = h('audio', { autoplay: true });
      this.element.append(audio);
      this.playing.set(participant, { track, audio });
      const start = () => {
        if (current !== undefined) stop(current.audio);
        audio.srcObject = streamOf(track);
        play(audio, this.blocked);
      };
      if (current === undefined || !track.muted || current.track.readyState === 'ended') start();
      else track.addEventListener('unmute', start, { once: true });
    }
  }

  /** Tries again after a tap. */
  resume() {
    for (const { audio } of this.playing.values()) play(audio, this.blocked);
  }

  dispose() {
    for (const { audio } of this.playing.values()) stop(audio);
    this.playing.clear();
  }
}

/**
 * What plays a track that has become another participant's goes on playing it, for them.
 *
 * @template {{ track: MediaStreamTrack }} T
 * @param {Map<string, T>} playing by participant
 * @param {Map<string, MediaStreamTrack>} tracks by participant
 * @returns {T[]} what plays nobody's track any more because of that
 */
export function handOver(playing, tracks) {
  const owners = new Map([...tracks].map(([participant, track]) => [track, participant]));
  const moved = [...playing].filter(([participant, { track }]) => (owners.get(track) ?? participant) !== participant);
  for (const [participant] of moved) playing.delete(participant);
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

/** @param {HTMLAudioElement} audio */
function stop(audio) {
  audio.srcObject = null;
  audio.remove();
}
