import { MAX_GENERATION, MAX_STEP, ratchet, SECRET_BYTES } from './e2ee-frame.js';
import { newIdentity, openLetter, pairKeys, sealLetter } from './e2ee-keys.js';

/**
 * Who has which media key. One's own is ratcheted when somebody comes, so that they cannot read what was before, and
 * replaced when somebody goes, so that they cannot read what follows. Each key is sent, sealed, until there is a receipt.
 *
 * @typedef {import('./e2ee-frame.js').MediaKey} MediaKey
 * @typedef {import('./e2ee-keys.js').Identity} Identity
 * @typedef {import('./protocol.js').Member} Member
 * @typedef {import('./protocol.js').SenderKey} SenderKey
 * @typedef {object} Hooks
 * @property {(message: SenderKey) => void} send
 * @property {(key: MediaKey) => void} use seals from now on with this key of one's own
 * @property {(participant: string, key: MediaKey) => void} learn
 * @property {(participant: string) => void} forget
 * @property {() => void} changed the set of people and keys is another one
 *
 * @typedef {object} Peer
 * @property {string} key their public key
 * @property {{ out: CryptoKey, in: CryptoKey } | null} pair null if the public key is none
 * @property {number} receipt the newest generation of ours that they have, -1 for none
 * @property {number} due when the key is sent again, in milliseconds
 * @property {number} wait
 */

/** Rests between two attempts to hand over a key, doubled up to the last. */
const FIRST_WAIT_MS = 1000;
const LAST_WAIT_MS = 8000;
/** How many keys are sent at once and with each tick: a gateway takes 50 messages a second. */
const AT_ONCE = 8;
/** A new key is used when everybody has it, or after this long: who left must not go on reading for the sake of one. */
const SWITCH_MS = 2000;

export class KeyExchange {
  /**
   * @param {string} encounter
   * @param {{ privateKey: CryptoKey } & Identity} own
   * @param {Hooks} hooks
   */
  constructor(encounter, own, hooks) {
    this.encounter = encounter;
    this.own = own;
    this.hooks = hooks;
    /** @type {Map<string, Peer>} */
    this.peers = new Map();
    /** The key in use, and the one to follow. @type {MediaKey} */
    this.current = { generation: 0, step: 0, secret: random() };
    /** @type {{ key: MediaKey, since: number } | null} */
    this.next = null;
    /** Work is done in the order it came. @type {Promise<unknown>} */
    this.queue = Promise.resolve();
    hooks.use({ ...this.current });
  }

  /**
   * @param {string} encounter
   * @param {string} participant
   * @param {Hooks} hooks
   */
  static async create(encounter, participant, hooks) {
    return new KeyExchange(encounter, { participant, ...await newIdentity() }, hooks);
  }

  /** Everybody with a key, oneself included. @returns {Identity[]} */
  get everybody() {
    const others = [...this.peers].filter(([, { pair }]) => pair !== null).map(([participant, { key }]) => ({ participant, key }));
    return [{ participant: this.own.participant, key: this.own.key }, ...others];
  }

  /**
   * @param {Member[]} members of the roster
   * @param {number} now in milliseconds
   */
  roster(members, now) {
    return this.#after(() => this.#meet(members, now));
  }

  /**
   * @param {SenderKey} message
   */
  receive({ by, data }) {
    return this.#after(() => this.#read(by ?? '', data));
  }

  /** @param {number} now in milliseconds */
  tick(now) {
    return this.#after(() => this.#step(now));
  }

  /** @param {() => Promise<void>} work */
  #after(work) {
    const done = this.queue.then(work);
    this.queue = done.catch(() => {});
    return done;
  }

  /**
   * @param {Member[]} members
   * @param {number} now
   */
  async #meet(members, now) {
    const present = new Map(members
      .filter(({ participant, state, key }) => state === 'admitted' && key && participant !== this.own.participant)
      .map(({ participant, key = '' }) => [participant, key]));
    const gone = [...this.peers].filter(([participant, { key }]) => present.get(participant) !== key);
    const came = [...present].filter(([participant, key]) => this.peers.get(participant)?.key !== key);
    if (gone.length === 0 && came.length === 0) return;
    for (const [participant] of gone) {
      this.peers.delete(participant);
      this.hooks.forget(participant);
    }
    for (const [participant, key] of came) {
      const pair = await pairKeys(this.encounter, this.own, { participant, key }).catch(() => null);
      this.peers.set(participant, { key, pair, receipt: -1, due: now, wait: FIRST_WAIT_MS });
    }
    if (gone.length > 0 || this.#newest().step === MAX_STEP) this.#rotate(now);
    else await this.#advance();
    this.hooks.changed();
    await this.#step(now);
  }

  #newest() {
    return this.next?.key ?? this.current;
  }

  /** @param {number} now */
  #rotate(now) {
    const generation = this.#newest().generation + 1;
    if (generation > MAX_GENERATION) throw new RangeError('all generations of a media key are used');
    this.next = { key: { generation, step: 0, secret: random() }, since: this.next?.since ?? now };
    for (const peer of this.peers.values()) Object.assign(peer, { due: now, wait: FIRST_WAIT_MS });
  }

  async #advance() {
    const key = this.#newest();
    key.secret = await ratchet(key.secret);
    key.step += 1;
    if (this.next === null) this.hooks.use({ ...key });
  }

  /** @param {number} now */
  async #step(now) {
    const { generation } = this.#newest();
    const without = [...this.peers].filter(([, { pair, receipt }]) => pair !== null && receipt !== generation);
    for (const [participant, peer] of without.filter(([, { due }]) => now >= due).slice(0, AT_ONCE)) {
      peer.due = now + peer.wait;
      peer.wait = Math.min(2 * peer.wait, LAST_WAIT_MS);
      await this.#write(participant, peer, { type: 'key', key: this.#newest() });
    }
    if (this.next === null || without.length > 0 && now - this.next.since < SWITCH_MS) return;
    this.current = this.next.key;
    this.next = null;
    this.hooks.use({ ...this.current });
  }

  /**
   * @param {string} participant
   * @param {Peer} peer
   * @param {import('./e2ee-keys.js').Letter} letter
   */
  async #write(participant, { pair }, letter) {
    if (pair === null) return;
    this.hooks.send({ type: 'sender-key', participant, data: await sealLetter(pair.out, letter) });
  }

  /**
   * @param {string} by
   * @param {string} data
   */
  async #read(by, data) {
    const peer = this.peers.get(by);
    if (peer === undefined || peer.pair === null) return; // they say it again when they are known
    const letter = await openLetter(peer.pair.in, data).catch(() => null);
    if (letter === null) return; // for another key than ours, or not from them
    if (letter.type === 'receipt') {
      if (letter.generation === this.#newest().generation) peer.receipt = letter.generation;
      return;
    }
    this.hooks.learn(by, letter.key);
    await this.#write(by, peer, { type: 'receipt', generation: letter.key.generation });
  }
}

function random() {
  return crypto.getRandomValues(new Uint8Array(SECRET_BYTES));
}
