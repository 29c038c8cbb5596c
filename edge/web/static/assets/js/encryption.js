import { FrameWorker, Shield, supported } from './e2ee.js';

/**
 * End-to-end encryption over the sessions of one visit: whether there is any, and a shield for each.
 *
 * @typedef {import('./protocol.js').Welcome} Welcome
 * @typedef {object} Owner
 * @property {() => import('./call.js').Call | null} call the view, while there is one
 * @property {(code: string) => void} quit this page does not stay
 */
export class Encryption {
  /**
   * @param {import('./signal.js').Signal} signal
   * @param {import('./legs.js').Legs} legs
   * @param {boolean} promised the link says that the visit is encrypted
   * @param {Owner} owner
   */
  constructor(signal, legs, promised, owner) {
    this.signal = signal;
    this.legs = legs;
    this.promised = promised;
    this.owner = owner;
    /** @type {Shield | null} */
    this.shield = null;
    /** @type {FrameWorker | null} */
    this.frames = promised && supported() ? new FrameWorker() : null;
    signal.on('sender-key', (message) => void this.shield?.receive(message).catch(() => {}));
  }

  /**
   * Takes a welcome before anything else does. A new session has keys of its own, and none of the one before.
   *
   * @param {Welcome} welcome
   * @returns {string} why this page cannot stay, '' if it can
   */
  welcome(welcome) {
    // An encounter's choice is for good: a server that says otherwise is not to be believed.
    if (this.shield !== null && !welcome.e2ee) return 'e2ee-lost';
    if (this.promised && !welcome.e2ee) return 'encounter-not-encrypted';
    if (welcome.e2ee && !supported()) return 'no-e2ee';
    if (!welcome.resumed) {
      this.shield?.dispose();
      this.shield = this.legs.shield = welcome.e2ee ? this.#shield(welcome) : null;
      this.owner.call()?.setShield(this.shield);
    }
    void this.shield?.announce().catch(() => {});
    return '';
  }

  /** @param {import('./protocol.js').Roster} roster the newest */
  roster(roster) {
    void this.shield?.roster(roster).catch(() => {});
  }

  dispose() {
    this.shield?.dispose();
    this.frames?.end();
  }

  /** @param {Welcome} welcome */
  #shield({ you }) {
    this.frames ??= new FrameWorker();
    const shield = new Shield(you.encounter, you.participant, (message) => this.signal.send(message), this.frames);
    shield.on('undecryptable', (participants) => this.owner.call()?.setUndecryptable(participants));
    shield.on('failed', () => this.owner.quit('e2ee-failed'));
    return shield;
  }
}
