import { StallWatch } from './stall.js';

/**
 * What is done when media stops, or the network changes.
 *
 * @typedef {import('./legs.js').Legs} Legs
 * @typedef {import('./signal.js').Signal} Signal
 */

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
    this.watch = new StallWatch(() => legs.open.values(), () => this.mediaStopped(), () => {
      // Without a socket the network is gone: what has to come back first is that.
      if (signal.state === 'open') signal.rejoin();
    });
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
}
