import { Emitter } from './emitter.js';
import { Gateways } from './gateways.js';
import { Heartbeat } from './heartbeat.js';
import { SUBPROTOCOL } from './protocol.js';
import { drop, Race } from './race.js';

/**
 * The signaling socket: joins, pings, and after a lost connection reconnects, at another gateway if need be, and
 * resumes the session.
 *
 * @typedef {import('./protocol.js').ClientMessage} ClientMessage
 * @typedef {import('./protocol.js').ServerMessage} ServerMessage
 * @typedef {'idle' | 'connecting' | 'open' | 'reconnecting' | 'closed'} SignalState
 * @typedef {import('./protocol.js').ServerEvents & { state: SignalState, failed: number, closed: string }} SignalEvents failed: attempts in a row
 *
 * @typedef {object} SocketLike
 * @property {number} readyState
 * @property {(data: string) => void} send
 * @property {(code?: number) => void} close
 * @property {((event: any) => void) | null} onopen
 * @property {((event: any) => void) | null} onmessage
 * @property {((event: any) => void) | null} onclose
 * @property {((event: any) => void) | null} onerror
 *
 * @typedef {object} SignalOptions
 * @property {string} url of the gateway that the page came from
 * @property {Gateways} [gateways] where else there are some
 * @property {string} token
 * @property {Record<string, number>} [roundTrips] milliseconds to each region that was measured so far
 * @property {() => number} [leg] the newest leg's number, 0 without one
 * @property {(url: string, protocol: string) => SocketLike} [dial]
 * @property {() => number} [random]
 */

const OPEN = 1;
/** How long a new socket may take until its welcome; less when there is another gateway to try. */
const WELCOME_TIMEOUT_MS = 8000;
const WELCOME_SOON_MS = 4000;
/** Delays before the attempts after a lost connection; the first attempt is made at once. */
const BACKOFF_MS = [0, 250, 500, 1000, 2000];
/** A throttled client waits at least this long. */
const THROTTLED_MS = 5000;
/** Refusals of a join that time may cure, so the client tries again by itself. */
const PASSING = new Set(['busy', 'unavailable', 'rate-limited', 'no-media-server']);
/** A provider's actions are kept over a short interruption; older ones are no longer what was meant. */
const KEEP_ACTIONS_MS = 10_000;

/**
 * @param {number} attempt counted from 0
 * @param {number} random 0 to 1
 * @returns {number} milliseconds to wait: the step, give or take a quarter
 */
export function backoff(attempt, random) {
  const step = BACKOFF_MS[Math.min(attempt, BACKOFF_MS.length - 1)] ?? 0;
  return Math.round(step * (0.75 + random / 2));
}

/** @extends {Emitter<SignalEvents>} */
export class Signal extends Emitter {
  /** @param {SignalOptions} options */
  constructor(options) {
    super();
    this.options = options;
    this.gateways = options.gateways ?? new Gateways(options.url);
    /** The address of the socket in use. */
    this.address = '';
    /** @type {Race | null} */
    this.race = null;
    /** @type {SignalState} */
    this.state = 'idle';
    /** The session to resume; empty before the first welcome. */
    this.session = '';
    /** The session that a rejoin gave up, until there is another one. */
    this.left = '';
    /** Whether the token can begin no new session any more. */
    this.expired = false;
    this.attempt = 0;
    this.pingMs = 1000;
    this.heart = new Heartbeat({ ping: (id) => this.send({ type: 'ping', id }), silent: () => this.#lost() });
    this.joinedAt = 0;
    this.refusal = '';
    this.welcomed = false;
    /** @type {SocketLike | null} */
    this.socket = null;
    /** @type {{ message: ClientMessage, until: number }[]} */
    this.kept = [];
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.retryTimer = undefined;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.deadline = undefined;
  }

  /** Opens the first socket. */
  connect() {
    if (this.state === 'idle') this.#dial('connecting');
  }

  /**
   * Sends now, if the session is open.
   *
   * @param {ClientMessage} message
   * @returns {boolean} whether it was sent
   */
  send(message) {
    if (this.state !== 'open' || this.socket?.readyState !== OPEN) return false;
    this.socket.send(JSON.stringify(message));
    return true;
  }

  /**
   * Sends now, or after a resume that comes soon.
   *
   * @param {ClientMessage} message
   */
  act(message) {
    if (!this.send(message)) this.kept.push({ message, until: Date.now() + KEEP_ACTIONS_MS });
  }

  /** Ends the session on purpose. */
  leave() {
    this.farewell();
    this.#finish('left');
  }

  /** Tells the gateway of the end; it reads that after the join, so the welcome need not be waited for. */
  farewell() {
    if (this.socket?.readyState === OPEN) this.socket.send(JSON.stringify({ type: 'leave' }));
  }

  /** Starts a new session on a new socket: what a dead media path needs. With a token that has expired the old one has to do. */
  rejoin() {
    if (this.state === 'closed' || this.state === 'idle') return;
    if (!this.expired && this.session !== '') {
      this.left = this.session;
      this.session = '';
    }
    this.#lost();
  }

  /** Makes sure at once that the socket still works, for when media has stopped. */
  check() {
    if (this.state === 'open') this.heart.check();
  }

  /** Skips the rest of a waiting time, for when the network or the page comes back. */
  nudge() {
    if (this.state === 'reconnecting' && this.retryTimer !== undefined) this.#dial('reconnecting');
    else this.check();
  }

  /** @param {SignalState} state */
  #enter(state) {
    if (this.state === state) return;
    this.state = state;
    this.emit('state', state);
  }

  /** @param {SignalState} state */
  #dial(state) {
    this.#drop();
    this.refusal = '';
    this.#enter(state);
    const { dial = (/** @type {string} */ url) => new WebSocket(url, SUBPROTOCOL) } = this.options;
    this.deadline = setTimeout(() => this.#lost(), WELCOME_TIMEOUT_MS);
    this.race = new Race(this.gateways.order(), {
      dial: (address) => dial(address, SUBPROTOCOL),
      won: (socket, address) => this.#join(socket, address),
      lost: (code) => this.#closed(code),
    });
  }

  /**
   * @param {SocketLike} socket
   * @param {string} address
   */
  #join(socket, address) {
    this.race = null;
    this.socket = socket;
    this.address = address;
    this.gateways.failed(address); // until it welcomes
    if (this.gateways.untried) {
      clearTimeout(this.deadline);
      this.deadline = setTimeout(() => this.#lost(), WELCOME_SOON_MS);
    }
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event.code);
    this.joinedAt = Date.now();
    const { token, roundTrips = {} } = this.options;
    const leg = this.options.leg?.() ?? 0;
    const resume = this.session === '' ? {} : { resume: this.session, ...(leg > 0 ? { leg } : {}) };
    const rtt = Object.keys(roundTrips).length === 0 ? {} : { rtt: roundTrips };
    socket.send(JSON.stringify({ type: 'join', token, ...resume, ...rtt }));
  }

  /** @param {unknown} data */
  #receive(data) {
    /** @type {ServerMessage} */
    let message;
    try {
      message = JSON.parse(String(data));
    } catch {
      return;
    }
    if (typeof message?.type !== 'string') return;
    this.heart.heard(message);
    if (message.type === 'welcome') this.#welcome(message);
    else if (message.type === 'gateways') this.gateways.tell(message.gateways);
    else if (message.type === 'bye') return this.#bye(message);
    else if (message.type === 'error' && this.state !== 'open') this.refusal = message.code;
    this.emit(message.type, /** @type {any} */ (message));
    if (message.type === 'welcome') this.#flush();
  }

  /** @param {import('./protocol.js').Welcome} message */
  #welcome(message) {
    clearTimeout(this.deadline);
    this.gateways.welcomed(this.address);
    this.gateways.tell(message.gateways);
    this.session = message.session;
    this.left = '';
    this.attempt = 0;
    this.welcomed = true;
    this.pingMs = Math.max(250, message.ping_ms || this.pingMs);
    this.heart.start(this.pingMs, Date.now() - this.joinedAt);
    this.#enter('open');
  }

  #flush() {
    const now = Date.now();
    for (const { message, until } of this.kept.splice(0)) {
      if (until >= now) this.send(message);
    }
  }

  /** @param {import('./protocol.js').Bye} message */
  #bye(message) {
    this.emit('bye', message);
    // One that stops should not be the first to be tried.
    if (message.code === 'shutdown') this.gateways.failed(this.address);
    if (message.retry) this.#lost();
    else this.#finish(message.code);
  }

  /** @param {number} code */
  #closed(code) {
    if (this.refusal === 'unavailable' && this.gateways.untried) return this.#lost();
    if (PASSING.has(this.refusal)) return this.#lost(THROTTLED_MS / 2);
    if (this.refusal === 'token-expired' && this.left !== '') return this.#back();
    if (this.refusal !== '') return this.#finish(this.refusal);
    if (code === 4401) return this.#finish('token-malformed');
    if (code === 4403) return this.#finish('refused');
    return this.#lost(code === 4429 ? THROTTLED_MS : 0);
  }

  /** Goes on with the session that was given up: a visit that goes on is not ended by its token. */
  #back() {
    this.expired = true;
    this.session = this.left;
    this.left = '';
    this.#lost();
  }

  /** @param {number} [atLeast] milliseconds */
  #lost(atLeast = 0) {
    this.#drop();
    this.#enter(this.welcomed ? 'reconnecting' : 'connecting');
    const wait = Math.max(atLeast, backoff(this.attempt, (this.options.random ?? Math.random)()));
    this.attempt += 1;
    this.emit('failed', this.attempt);
    this.retryTimer = setTimeout(() => this.#dial(this.state), wait);
  }

  /** @param {string} code */
  #finish(code) {
    if (this.state === 'closed') return;
    this.#drop();
    this.kept = [];
    this.#enter('closed');
    this.emit('closed', code);
  }

  /** Forgets the sockets and every timer that belongs to it. */
  #drop() {
    clearTimeout(this.retryTimer);
    clearTimeout(this.deadline);
    this.heart.stop();
    this.retryTimer = this.deadline = undefined;
    this.race?.stop();
    this.race = null;
    if (this.socket !== null) drop(this.socket);
    this.socket = null;
  }
}
