import { arrival } from './subscriber.js';

/**
 * Notices within about a second that media stopped arriving. Mostly its media server is gone, and perhaps the gateway
 * with it: then nobody is left who could tell the page, so the page has to look by itself.
 *
 * @typedef {import('./leg.js').Leg} Leg
 */

/** How often it looks, and how old the newest packet may be. Muted microphones still send every 400 ms, and one packet may be lost. */
const EVERY_MS = 100;
export const QUIET_MS = 900;

/**
 * How long every path to the media server may be disconnected before it counts as lost. Browsers take some 5 s to say
 * so, and 15 s more to call it failed: too long for somebody whose relay is gone.
 */
export const LOST_MS = 2000;

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
   * @param {() => void} stalled media has stopped
   * @param {() => void} lost every path has been disconnected for LOST_MS, told again after as long
   */
  constructor(legs, stalled, lost) {
    this.legs = legs;
    this.stalled = stalled;
    this.lost = lost;
    this.lostLooks = 0;
    this.flowing = false;
    /** Whether media that was arriving has stopped and not come back. */
    this.stopped = false;
    this.disconnected = false;
    this.timer = setInterval(() => this.#look(), EVERY_MS);
  }

  stop() {
    clearInterval(this.timer);
  }

  #look() {
    const legs = [...this.legs()];
    const now = performance.now();
    const arrivals = legs.flatMap((leg) => leg.remote).flatMap(({ receiver }) => arrival(receiver, now));
    const { flowing, stalled } = observe(this.flowing, arrivals.length === 0 ? undefined : Math.max(...arrivals), now);
    const disconnected = legs.length > 0 && legs.every((leg) => leg.disconnected);
    if (stalled || disconnected && !this.disconnected) this.stalled();
    this.flowing = flowing;
    this.stopped = !flowing && (this.stopped || stalled);
    this.disconnected = disconnected;
    this.lostLooks = disconnected ? this.lostLooks + 1 : 0;
    if (this.lostLooks * EVERY_MS < LOST_MS) return;
    this.lostLooks = 0;
    this.lost();
  }
}
