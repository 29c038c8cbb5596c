import { StallWatch } from './stall.js';

/**
 * What is done when media stops, or the network changes.
 *
 * @typedef {import('./leg.js').Leg} Leg
 * @typedef {import('./legs.js').Legs} Legs
 * @typedef {import('./signal.js').Signal} Signal
 */

/** A leg that failed gets this long to be replaced by a failover before the client joins anew. */
export const FAILED_GRACE_MS = 2000;
/** How long a gateway may take to place a visit anew after the page noticed that media stopped. */
export const PLACED_WITHIN_MS = 400;

export class Recovery {
  /**
   * @param {Signal} signal
   * @param {Legs} legs
   */
  constructor(signal, legs) {
    this.signal = signal;
    this.legs = legs;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.watch = new StallWatch(() => legs.open.values(), () => this.mediaStopped(), () => this.#rejoin());
  }

  /** Whether media that was arriving has stopped and not come back. */
  get stopped() {
    return this.watch.stopped;
  }

  stop() {
    clearTimeout(this.timer);
    this.watch.stop();
  }

  /** The network may be another one: tests the socket, and has media look for new paths. */
  networkChanged() {
    this.signal.nudge();
    this.legs.restartICE();
  }

  /** @param {Leg} leg the newest, which has failed */
  failed(leg) {
    setTimeout(() => {
      if (leg === this.legs.current && !leg.closed && !leg.connected) this.#rejoin();
    }, FAILED_GRACE_MS);
  }

  /**
   * Tests the socket. Mostly the media server is gone and the visit is placed anew in a moment, for which a browser needs all
   * it has; if it is not, the network may be another one.
   */
  mediaStopped() {
    this.signal.nudge();
    const leg = this.legs.current;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      if (this.legs.current === leg && (this.stopped || leg?.disconnected)) this.legs.restartICE();
    }, PLACED_WITHIN_MS);
  }

  /** Without a socket the network is gone: what has to come back first is that, and with it the session. */
  #rejoin() {
    if (this.signal.state === 'open') this.signal.rejoin();
  }
}
