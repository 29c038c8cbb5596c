/**
 * Notices within about a second that media stopped arriving. Mostly its media server is gone, and perhaps the gateway
 * with it: then nobody is left who could tell the page, so the page has to look by itself.
 *
 * @typedef {import('./leg.js').Leg} Leg
 */

/** How often it looks, and how old the newest packet may be. Muted microphones still send every 400 ms. */
const EVERY_MS = 250;
export const QUIET_MS = 1000;

/**
 * @param {boolean} flowing whether media was arriving before
 * @param {number | undefined} newest when the newest packet arrived, if one ever did
 * @param {number} now on the same clock
 * @returns {{ flowing: boolean, stalled: boolean }} stalled only at the moment when media stops
 */
export function observe(flowing, newest, now) {
  const fresh = newest !== undefined && now - newest < QUIET_MS;
  return { flowing: fresh, stalled: flowing && !fresh };
}

export class StallWatch {
  /**
   * @param {() => Iterable<Leg>} legs those open now
   * @param {() => void} stalled
   */
  constructor(legs, stalled) {
    this.legs = legs;
    this.stalled = stalled;
    this.flowing = false;
    this.disconnected = false;
    this.timer = setInterval(() => this.#look(), EVERY_MS);
  }

  stop() {
    clearInterval(this.timer);
  }

  #look() {
    const legs = [...this.legs()];
    const arrivals = legs.flatMap((leg) => leg.remote).flatMap(({ receiver }) => receiver.getSynchronizationSources())
      .map(({ timestamp }) => timestamp - performance.timeOrigin);
    const { flowing, stalled } = observe(this.flowing, arrivals.length === 0 ? undefined : Math.max(...arrivals), performance.now());
    const disconnected = legs.length > 0 && legs.every((leg) => leg.disconnected);
    if (stalled || disconnected && !this.disconnected) this.stalled();
    this.flowing = flowing;
    this.disconnected = disconnected;
  }
}
