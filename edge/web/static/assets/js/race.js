/**
 * Opens one socket to whichever of several addresses answers first. Each has a head start on the next, so that the
 * first one wins as long as it works, and one that is switched off, which answers nothing at all, costs no more than that.
 *
 * @typedef {import('./signal.js').SocketLike} SocketLike
 * @typedef {object} Runners
 * @property {(address: string) => SocketLike} dial
 * @property {(socket: SocketLike, address: string) => void} won called once; the socket's handlers are the winner's to set
 * @property {(code: number) => void} lost called once when every address has failed, with the last close code
 */

/** How long an address may take before the next one is dialed too. */
export const HEAD_START_MS = 400;
/** The close code of a socket that never was one (RFC 6455, 7.4.1). */
const ABNORMAL = 1006;

export class Race {
  /**
   * @param {string[]} addresses best first
   * @param {Runners} runners
   */
  constructor(addresses, runners) {
    this.waiting = [...addresses];
    this.runners = runners;
    /** @type {Set<SocketLike>} */
    this.running = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
    this.over = false;
    this.#next(ABNORMAL);
  }

  /** Ends the race without a winner and tells nobody. */
  stop() {
    this.over = true;
    clearTimeout(this.timer);
    for (const socket of this.running) drop(socket);
    this.running.clear();
  }

  /**
   * @param {number} code of what failed before
   * @returns {void}
   */
  #next(code) {
    clearTimeout(this.timer);
    const address = this.waiting.shift();
    if (address === undefined) {
      if (this.running.size > 0) return;
      this.over = true;
      return this.runners.lost(code);
    }
    /** @type {SocketLike} */
    let socket;
    try {
      socket = this.runners.dial(address);
    } catch {
      return this.#next(ABNORMAL); // the page's policy forbids it
    }
    this.running.add(socket);
    socket.onopen = () => this.#won(socket, address);
    socket.onclose = (event) => {
      this.running.delete(socket);
      if (!this.over) this.#next(event.code);
    };
    if (this.waiting.length > 0) this.timer = setTimeout(() => this.#next(ABNORMAL), HEAD_START_MS);
  }

  /**
   * @param {SocketLike} socket
   * @param {string} address
   */
  #won(socket, address) {
    this.running.delete(socket);
    socket.onopen = socket.onclose = null;
    this.stop();
    this.runners.won(socket, address);
  }
}

/**
 * Closes a socket that nobody listens to any more.
 *
 * @param {SocketLike} socket
 */
export function drop(socket) {
  socket.onopen = socket.onmessage = socket.onclose = socket.onerror = null;
  socket.close(1000);
}
