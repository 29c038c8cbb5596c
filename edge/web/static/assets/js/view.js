/**
 * How large each picture is shown, for the media server to send no more than that. Pure but for the watcher.
 *
 * @typedef {import('./protocol.js').ShownTile} ShownTile
 */

/** Pictures are measured when nothing has moved for this long, or all the time for so long; a hidden page counts as such after the last. */
const SETTLED_MS = 250;
const MOVING_MS = 1000;
const HIDDEN_MS = 5000;
/** Sizes are told in steps, so that a window being dragged is not news all the time. */
const STEP_PX = 32;
/** No tile is larger, and no list longer. */
const MAX_PX = 16_384;
const MAX_TILES = 256;

/**
 * @typedef {object} Measured
 * @property {string} participant
 * @property {'camera' | 'screen'} source
 * @property {boolean} pinned whether it comes before others
 * @property {{ left: number, top: number, right: number, bottom: number }} rect on the page, in CSS pixels
 */

/**
 * @param {Measured[]} measured
 * @param {{ width: number, height: number, ratio: number, hidden: boolean }} page
 * @returns {ShownTile[]}
 */
export function shownTiles(measured, page) {
  return measured.slice(0, MAX_TILES).map(({ participant, source, pinned, rect }) => {
    const seen = !page.hidden && rect.right > 0 && rect.bottom > 0 && rect.left < page.width && rect.top < page.height;
    const width = seen ? pixels(rect.right - rect.left, page.ratio) : 0;
    const height = seen ? pixels(rect.bottom - rect.top, page.ratio) : 0;
    const tile = { participant, source, width, height };
    return pinned && width > 0 && height > 0 ? { ...tile, pinned } : tile;
  });
}

/**
 * @param {number} length in CSS pixels
 * @param {number} ratio
 */
function pixels(length, ratio) {
  return Math.min(MAX_PX, Math.round(length * ratio / STEP_PX) * STEP_PX);
}

/** Tells how the tiles are shown, once they have settled. */
export class View {
  /**
   * @param {() => Measured[]} measure
   * @param {(tiles: ShownTile[]) => void} tell
   */
  constructor(measure, tell) {
    this.measure = measure;
    this.tell = tell;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    /** Until when a page that was just hidden is taken for one that is seen, on the clock of performance.now(). */
    this.until = 0;
    /** Since when something has moved that was not told, on the same clock. @type {number | undefined} */
    this.moving = undefined;
    this.changed = () => {
      this.until = document.hidden ? performance.now() + HIDDEN_MS : 0;
      this.later(0);
    };
    document.addEventListener('visibilitychange', this.changed);
  }

  /** @param {number} [ms] */
  later(ms = SETTLED_MS) {
    clearTimeout(this.timer);
    const now = performance.now();
    this.moving ??= now;
    this.timer = setTimeout(() => this.#measure(), Math.max(Math.min(ms, this.moving + MOVING_MS - now), this.until - now));
  }

  dispose() {
    clearTimeout(this.timer);
    document.removeEventListener('visibilitychange', this.changed);
  }

  #measure() {
    this.moving = undefined;
    this.tell(shownTiles(this.measure(), {
      width: window.innerWidth, height: window.innerHeight, ratio: window.devicePixelRatio, hidden: document.hidden,
    }));
  }
}
