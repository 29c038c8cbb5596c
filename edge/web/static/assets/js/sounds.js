import { h, streamOf } from './dom.js';

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
        audio.play().catch((error) => error?.name === 'NotAllowedError' && this.blocked());
      };
      if (current === undefined || !track.muted || current.track.readyState === 'ended') start();
      else track.addEventListener('unmute', start, { once: true });
    }
  }

  /** Tries again after a tap. */
  resume() {
    for (const { audio } of this.playing.values()) audio.play().catch(() => {});
  }

  dispose() {
    for (const { audio } of this.playing.values()) stop(audio);
    this.playing.clear();
  }
}

/** @param {HTMLAudioElement} audio */
function stop(audio) {
  audio.srcObject = null;
  audio.remove();
}
