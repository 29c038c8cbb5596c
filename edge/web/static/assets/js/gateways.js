import { parse } from './address.js';
import { SIGNAL_PATH } from './protocol.js';

/**
 * Where the session can go on: the gateway it is at, and those that this one named.
 *
 * @typedef {import('./protocol.js').Gateway} Gateway
 */

/** More than the gateway sends: a list is never trusted to be short. */
const MAX_LISTED = 16;

export class Gateways {
  /** @param {string} home signaling address of the gateway that the page came from */
  constructor(home) {
    this.home = home;
    this.secure = home.startsWith('wss:');
    /** @type {string[]} signaling addresses, best first */
    this.listed = [];
    /** Whether a gateway named them, which is more than what the page found out by itself. */
    this.told = false;
    /** @type {Set<string>} those that did not work since the last welcome */
    this.failing = new Set();
  }

  /** @param {Gateway[] | null | undefined} list of a welcome or a gateways message */
  tell(list) {
    this.told = true;
    this.#list((list ?? []).map(({ url }) => url));
  }

  /** @param {string[]} urls base URLs to fall back on until a gateway names others */
  suggest(urls) {
    if (!this.told) this.#list(urls);
  }

  /**
   * In which order to try: the last one that worked, the others as listed, and at the end what has failed since.
   *
   * @returns {string[]} signaling addresses, at least one
   */
  order() {
    const all = [...new Set([this.home, ...this.listed])];
    return [...all.filter((address) => !this.failing.has(address)), ...all.filter((address) => this.failing.has(address))];
  }

  /** Whether there is one that has not failed since the last welcome. */
  get untried() {
    return this.order().some((address) => !this.failing.has(address));
  }

  /** @param {string} address that took the session */
  welcomed(address) {
    this.home = address;
    this.failing.clear();
  }

  /** @param {string} address that did not */
  failed(address) {
    this.failing.add(address);
  }

  /** @param {string[]} urls */
  #list(urls) {
    this.listed = urls.map((url) => signalAddress(url, this.secure)).filter((address) => address !== '').slice(0, MAX_LISTED);
  }
}

/**
 * @param {unknown} base URL of a gateway
 * @param {boolean} secure whether the page came over TLS, and may go nowhere else
 * @returns {string} its signaling address, or '' when the page cannot go there
 */
export function signalAddress(base, secure) {
  const address = typeof base === 'string' ? parse(base) : null;
  if (address === null) return '';
  const { protocol, host, username, password } = address;
  if (username !== '' || password !== '') return '';
  if (protocol === 'https:') return `wss://${host}${SIGNAL_PATH}`;
  return protocol === 'http:' && !secure ? `ws://${host}${SIGNAL_PATH}` : '';
}
