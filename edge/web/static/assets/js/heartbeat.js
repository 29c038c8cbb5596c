import { every } from './metronome.js';
import { CHECK_TIMEOUT_MS, PONG_TIMEOUT_MS } from './protocol.js';

/**
 * Notices when the other end of a socket falls silent: pings regularly and expects something, anything, soon after.
 *
 * @typedef {object} HeartbeatOptions
 * @property {(id: number) => boolean} ping sends one; false when it could not
 * @property {() => void} silent called once, when nothing came in time
 */

/** A timer this late says that the page itself stood still: what came meanwhile has not been read yet. */
const STOOD_STILL_MS = 500;
/** A slow network gets this many of its round trips, up to so many times the usual patience. */
const ROUND_TRIPS = 3;
const MOST_PATIENT = 4;
/** How much of an older, longer round trip still counts. */
const MEMORY = 0.9;

export class Heartbeat {
  /** @param {HeartbeatOptions} options */
  constructor(options) {
    this.options = options;
    this.id = 0;
    this.due = 0;
    this.roundTrip = 0;
    /** @type {Map<number, number>} when the pings without an answer were sent */
    this.sent = new Map();
    /** Ends the regular pings. */
    this.rest = () => {};
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.deadline = undefined;
  }

  /**
   * @param {number} everyMs
   * @param {number} roundTrip the first one that was seen, in milliseconds
   */
  start(everyMs, roundTrip) {
    this.stop();
    this.roundTrip = roundTrip;
    this.rest = every(everyMs, () => this.beat());
  }

  stop() {
    this.rest();
    this.#calm();
    this.sent.clear();
  }

  /** Pings now; the earlier of two deadlines counts. */
  beat(patience = PONG_TIMEOUT_MS) {
    this.id += 1;
    if (!this.options.ping(this.id)) return;
    const now = Date.now();
    this.sent.set(this.id, now);
    const within = Math.min(MOST_PATIENT * patience, Math.max(patience, ROUND_TRIPS * this.roundTrip));
    if (this.deadline !== undefined && this.due <= now + within) return;
    clearTimeout(this.deadline);
    this.due = now + within;
    this.deadline = setTimeout(() => this.#late(), within);
  }

  /** Pings with little patience, for when there is a reason to believe that nobody is there. */
  check() {
    this.beat(CHECK_TIMEOUT_MS);
  }

  /**
   * Whatever comes shows that somebody is there; a pong also says how far away.
   *
   * @param {import('./protocol.js').ServerMessage} message
   */
  heard(message) {
    this.#calm();
    if (message.type !== 'pong') return;
    const sent = this.sent.get(message.id);
    if (sent === undefined) return;
    this.roundTrip = Math.max(Date.now() - sent, this.roundTrip * MEMORY);
    for (const id of this.sent.keys()) {
      if (id <= message.id) this.sent.delete(id);
    }
  }

  #calm() {
    clearTimeout(this.deadline);
    this.deadline = undefined;
  }

  #late() {
    this.deadline = undefined;
    if (Date.now() - this.due > STOOD_STILL_MS) return this.beat();
    this.stop();
    this.options.silent();
  }
}
