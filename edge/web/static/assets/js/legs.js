import { Emitter } from './emitter.js';
import { configuration } from './ice.js';
import { Leg } from './leg.js';

/**
 * All legs of a session. A move opens the new leg beside the old one and closes the old when the new
 * one carries media; after an abrupt loss the old one is kept only until then, for its last picture.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {import('./subscriber.js').RemoteTrack} RemoteTrack
 * @typedef {{ tracks: RemoteTrack[], retire: Leg, connected: Leg, failed: Leg }} LegsEvents
 */

/** How long a moved leg may wait for each track's first packet, and for the SFU's first offer. */
const FLOW_TIMEOUT_MS = 3000;
const OFFER_GRACE_MS = 2000;
/** One change of networks is told in several ways; within this time they are one. */
const RESTART_EVERY_MS = 1000;

/** @extends {Emitter<LegsEvents>} */
export class Legs extends Emitter {
  /**
   * @param {import('./signal.js').Signal} signal
   * @param {import('./media.js').LocalMedia} media
   * @param {import('./ice.js').IceChoice} choice
   */
  constructor(signal, media, choice) {
    super();
    this.signal = signal;
    this.media = media;
    this.choice = choice;
    /** @type {Source[]} what this role may send */
    this.allowed = [];
    /** @type {import('./e2ee.js').Shield | null} of an end-to-end encrypted visit */
    this.shield = null;
    /** @type {import('./protocol.js').ICEServer[]} */
    this.iceServers = [];
    /** @type {import('./protocol.js').ShownTile[]} */
    this.shown = [];
    /** @type {Map<number, Leg>} */
    this.open = new Map();
    /** @type {Set<number>} legs whose leg-ready was sent */
    this.ready = new Set();
    this.restartedAt = -Infinity;

    this.off = [media.on('track', ({ source, track }) => {
      if (!this.allowed.includes(source)) return;
      for (const leg of this.open.values()) leg.publisher.setTracks([[source, track]]).catch(report);
    }), media.on('state', () => {
      for (const leg of this.open.values()) leg.state(media);
    })];
    for (const type of /** @type {const} */ (['offer', 'answer', 'candidate', 'layers', 'codec', 'tracks'])) {
      signal.on(type, (message) => {
        this.open.get(message.leg)?.receive(message).catch(report);
      });
    }
  }

  /** The newest leg. */
  get current() {
    return [...this.open.values()].at(-1);
  }

  /** Whether what is received is a selection, as in large visits. */
  get selected() {
    return this.current?.selected === true;
  }

  /** @param {import('./protocol.js').Placed} placed */
  place(placed) {
    if (this.open.has(placed.leg) || placed.leg < (this.current?.route.leg ?? 0)) return;
    const servers = placed.ice_servers?.length ? placed.ice_servers : this.iceServers;
    const route = { leg: placed.leg, epoch: placed.epoch };
    const older = [...this.open.values()];
    const send = (/** @type {import('./protocol.js').ClientMessage} */ message) => this.signal.send(message);
    const { region, sfu } = placed;
    const leg = new Leg(route, configuration(servers, this.choice), send, { region, sfu }, this.shield, this.choice.codec);
    this.open.set(placed.leg, leg);
    const patient = older.length > 0 && !placed.abrupt;
    leg.on('tracks', () => this.emit('tracks', this.#latestTracks()));
    leg.on('failed', () => this.emit('failed', leg));
    leg.on('connected', () => void this.#whenFlowing(leg, patient).then(() => this.#becomeReady(leg)));
    leg.publish(this.media, this.allowed).catch(report);
    leg.show(this.shown);
  }

  /** @param {import('./protocol.js').ShownTile[]} tiles how the videos are shown now */
  show(tiles) {
    this.shown = tiles;
    for (const leg of this.open.values()) leg.show(tiles);
  }

  /**
   * Repeats what may have been lost with the socket.
   *
   * @param {boolean} [stopped] media was lost with it, so that it has to find the new network too
   */
  resume(stopped = false) {
    for (const leg of this.open.values()) {
      leg.resume();
      leg.state(this.media);
      leg.shown = '';
      leg.show(this.shown);
      if (this.ready.has(leg.route.leg)) this.signal.send({ type: 'leg-ready', ...leg.route });
    }
    if (stopped) this.restartICE();
  }

  /** Has every leg look for new paths, unless they have just begun to. */
  restartICE() {
    const now = performance.now();
    if (now - this.restartedAt < RESTART_EVERY_MS) return;
    this.restartedAt = now;
    for (const leg of this.open.values()) leg.restartICE().catch(report);
  }

  /** Closes everything, for a new session or the end. */
  reset() {
    for (const leg of this.open.values()) this.#retire(leg);
    this.ready.clear();
  }

  /** Closes everything for good: the devices outlive a visit that somebody leaves and joins again. */
  end() {
    this.reset();
    for (const off of this.off) off();
  }

  /**
   * The newest leg's track of each participant and source; an older leg's where the newest has none yet.
   *
   * @returns {RemoteTrack[]}
   */
  #latestTracks() {
    /** @type {Map<string, RemoteTrack>} */
    const byKey = new Map();
    for (const leg of this.open.values()) {
      for (const remote of leg.remote) byKey.set(`${remote.participant}/${remote.source}`, remote);
    }
    return [...byKey.values()];
  }

  /** @param {Leg} leg */
  #becomeReady(leg) {
    if (leg.closed) return;
    if (this.ready.has(leg.route.leg)) return this.emit('connected', leg); // its path is back
    this.ready.add(leg.route.leg);
    this.signal.act({ type: 'leg-ready', ...leg.route });
    for (const other of [...this.open.values()]) {
      if (other.route.leg < leg.route.leg) this.#retire(other);
    }
    this.emit('connected', leg);
    this.emit('tracks', this.#latestTracks());
  }

  /** @param {Leg} leg */
  #retire(leg) {
    this.emit('retire', leg);
    this.open.delete(leg.route.leg);
    leg.close();
  }

  /**
   * Waits, when moving without haste, until the new leg receives what it is to receive.
   *
   * @param {Leg} leg
   * @param {boolean} patient
   */
  async #whenFlowing(leg, patient) {
    if (!patient) return;
    await within(OFFER_GRACE_MS, (done) => {
      if (leg.subscriber.started) done();
      leg.on('tracks', done);
    });
    await within(FLOW_TIMEOUT_MS, (done) => {
      const waiting = leg.remote.map(({ track }) => track).filter((track) => track.muted);
      if (waiting.length === 0) done();
      for (const track of waiting) {
        track.addEventListener('unmute', () => waiting.every((other) => !other.muted) && done(), { once: true });
      }
    });
  }
}

/**
 * @param {number} ms
 * @param {(done: () => void) => void} start
 * @returns {Promise<void>}
 */
function within(ms, start) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    start(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}

/** @param {unknown} error */
function report(error) {
  // Only the kind of error: messages can quote session descriptions, which name addresses.
  console.warn('media negotiation failed:', error instanceof Error ? error.name : 'unknown');
}
