/** The bar moves this often; a screen reader is told the loudest of so many moves at a time. */
const MOVE_MS = 100;
const MOVES_TOLD = 10;

/**
 * Shows how loud a microphone is. The bar moves on a decibel scale, as ears do.
 */
export class Meter {
  /** @param {HTMLElement} bar a `meter` whose --level runs from 0 to 1 */
  constructor(bar) {
    this.bar = bar;
    /** @type {AudioContext | null} */
    this.context = null;
    /** @type {MediaStreamAudioSourceNode | null} */
    this.source = null;
    /** A track of its own, which hears also while nothing is sent. @type {MediaStreamTrack | null} */
    this.track = null;
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.timer = undefined;
  }

  /** @param {MediaStreamTrack | null} track */
  attach(track) {
    this.source?.disconnect();
    this.source = null;
    this.track?.stop();
    this.track = null;
    clearInterval(this.timer);
    this.#show(0);
    this.#tell(0);
    if (track === null || typeof AudioContext === 'undefined') return;
    this.track = track.clone();
    this.track.enabled = true;
    try {
      this.#listen(this.track);
    } catch {
      // Firefox takes no microphone of another sample rate, as of a headset or where it guards against fingerprinting.
      this.track.stop();
      this.track = null;
    }
  }

  /** @param {MediaStreamTrack} track */
  #listen(track) {
    this.context ??= new AudioContext();
    void this.context.resume().catch(() => {});
    const analyser = this.context.createAnalyser();
    analyser.fftSize = 1024;
    this.source = this.context.createMediaStreamSource(new MediaStream([track]));
    this.source.connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    /** @type {number[]} */
    let levels = [];
    this.timer = setInterval(() => {
      analyser.getFloatTimeDomainData(samples);
      const level = loudness(samples);
      this.#show(level);
      if (levels.push(level) < MOVES_TOLD) return;
      this.#tell(Math.max(...levels));
      levels = [];
    }, MOVE_MS);
  }

  stop() {
    this.attach(null);
    void this.context?.close().catch(() => {});
    this.context = null;
  }

  /** @param {number} level 0 to 1 */
  #show(level) {
    this.bar.style.setProperty('--level', level.toFixed(2));
  }

  /** @param {number} level 0 to 1 */
  #tell(level) {
    this.bar.setAttribute('aria-valuenow', String(Math.round(level * 100)));
  }
}

/**
 * @param {Float32Array} samples -1 to 1
 * @returns {number} 0 (at most -60 dBFS) to 1 (at least -6 dBFS)
 */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const rms = Math.sqrt(sum / Math.max(1, samples.length));
  if (rms <= 0) return 0;
  return Math.min(1, Math.max(0, (20 * Math.log10(rms) + 60) / 54));
}
