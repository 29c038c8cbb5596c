import { MAX_CANDIDATES } from './protocol.js';
import { applyOwn, withOpusNACK } from './sdp.js';

/**
 * The subscribing peer connection of a leg: the SFU offers, the client answers.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {{ participant: string, source: Source, mid: string, track: MediaStreamTrack, receiver: RTCRtpReceiver }} RemoteTrack
 */

export class Subscriber {
  /**
   * @param {import('./protocol.js').Route} route
   * @param {RTCConfiguration} config
   * @param {(message: import('./protocol.js').ClientMessage) => boolean} send
   * @param {() => void} changed called when the connection's state or its tracks change
   * @param {import('./e2ee.js').Shield | null} [shield] of an end-to-end encrypted visit
   */
  constructor(route, config, send, changed, shield = null) {
    this.route = route;
    this.send = send;
    this.changed = changed;
    this.shield = shield;
    this.pc = new RTCPeerConnection(shield?.configuration(config) ?? config);
    shield?.watch(this.pc);
    /** @type {RemoteTrack[]} */
    this.remote = [];
    /** @type {import('./protocol.js').Answer | null} the last answer, for repeated offers */
    this.answered = null;
    /** @type {import('./protocol.js').RestartICE | null} what asked for the next offer */
    this.restarting = null;
    /** @type {RTCIceCandidateInit[]} candidates that came before their description */
    this.early = [];
    this.candidates = 0;
    this.started = false;
    this.closed = false;
    /** Whether the SFU sends a selection of what there is, as in large visits. */
    this.selected = false;
    /** Offers are applied one after the other. @type {Promise<void>} */
    this.queue = Promise.resolve();
    this.pc.onconnectionstatechange = changed;
    this.pc.onicecandidate = (event) => this.#trickle(event.candidate);
  }

  /**
   * @param {import('./protocol.js').Offer} message
   * @returns {Promise<void>} settled when the offer has been answered
   */
  offer(message) {
    this.started = true;
    const next = this.queue.then(() => this.#apply(message));
    this.queue = next.catch(() => {});
    return next;
  }

  /**
   * Sections that are there already carry something else.
   *
   * @param {import('./protocol.js').Tracks} message
   */
  tracks(message) {
    // Behind the offers that came before it.
    this.queue = this.queue.then(() => this.#carry(message.tracks ?? [], true)).catch(() => {});
    return this.queue;
  }

  /** Asks for an offer that looks for new paths. */
  restartICE() {
    if (this.answered === null) return;
    this.restarting = { type: 'restart-ice', ...this.route, negotiation: this.answered.negotiation };
    this.send(this.restarting);
  }

  /** Asks again after a resume; once is enough for the SFU. */
  resume() {
    if (this.restarting !== null) this.send(this.restarting);
  }

  /** @param {import('./protocol.js').Candidate} message */
  async candidate(message) {
    if (message.candidate === '') return;
    const candidate = { candidate: message.candidate, sdpMid: message.mid ?? '0' };
    if (this.pc.remoteDescription === null) {
      if (this.early.length < MAX_CANDIDATES) this.early.push(candidate);
      return;
    }
    await this.pc.addIceCandidate(candidate);
  }

  close() {
    this.closed = true;
    this.pc.onconnectionstatechange = this.pc.onicecandidate = null;
    this.pc.close();
  }

  /** @param {import('./protocol.js').Offer} message */
  async #apply(message) {
    if (this.closed) return;
    if (this.answered !== null && message.negotiation <= this.answered.negotiation) {
      if (message.negotiation === this.answered.negotiation) this.send(this.answered);
      return;
    }
    this.restarting = null;
    await this.pc.setRemoteDescription({ type: 'offer', sdp: message.sdp });
    await applyOwn(this.pc, withOpusNACK);
    this.answered = {
      type: 'answer', ...this.route, pc: 'subscribe',
      negotiation: message.negotiation, sdp: this.pc.localDescription?.sdp ?? '',
    };
    this.send(this.answered);
    for (const candidate of this.early.splice(0)) await this.pc.addIceCandidate(candidate).catch(() => {});
    this.#carry(message.tracks ?? [], false);
  }

  /**
   * @param {import('./protocol.js').Track[]} tracks
   * @param {boolean} selected
   */
  #carry(tracks, selected) {
    if (this.closed) return;
    this.selected = selected;
    this.remote = match(this.pc.getTransceivers(), tracks);
    this.shield?.assign(this.remote);
    this.changed();
  }

  /** @param {RTCIceCandidate | null} candidate */
  #trickle(candidate) {
    if (candidate === null || this.candidates >= MAX_CANDIDATES) return;
    this.candidates += 1;
    this.send({
      type: 'candidate', ...this.route, pc: 'subscribe',
      candidate: candidate.candidate, mid: candidate.sdpMid ?? '0',
    });
  }
}

/**
 * Pairs what the offer said with the browser's transceivers. A section whose direction is no longer
 * receiving carries nothing, whatever it carried before.
 *
 * @param {RTCRtpTransceiver[]} transceivers
 * @param {import('./protocol.js').Track[]} tracks
 * @returns {RemoteTrack[]}
 */
export function match(transceivers, tracks) {
  /** @type {RemoteTrack[]} */
  const remote = [];
  for (const { mid, source, participant } of tracks) {
    const transceiver = transceivers.find((candidate) => candidate.mid === mid);
    if (transceiver === undefined || participant === undefined) continue;
    if (transceiver.currentDirection !== 'recvonly') continue;
    remote.push({ participant, source, mid, track: transceiver.receiver.track, receiver: transceiver.receiver });
  }
  return remote;
}

/** Browsers forget a packet after this long. */
const FORGOTTEN_MS = 10_000;
/** They may tell of a packet when it is played, so much later than it arrived. */
const PLAYED_MS = 500;
/** What each receiver had when it was last looked at. @type {WeakMap<object, { newest: number, at: number, looked: number }>} */
const looks = new WeakMap();

/**
 * When media last arrived at a receiver. Safari before 26.4 tells that on a clock of its own, and sleep puts clocks apart: a
 * time that cannot be right is taken for the one at which the packet was first seen.
 *
 * @param {Pick<RTCRtpReceiver, 'getSynchronizationSources'>} receiver
 * @param {number} now on the clock of performance.now(), as the result is
 * @returns {number[]} one or none: nothing arrived for so long that the browser forgot, or ever
 */
export function arrival(receiver, now) {
  const times = receiver.getSynchronizationSources().map(({ timestamp }) => timestamp);
  if (times.length === 0) return [];
  const newest = Math.max(...times);
  const before = looks.get(receiver);
  const told = newest - performance.timeOrigin;
  const right = told >= (before === undefined ? now - FORGOTTEN_MS : before.looked - PLAYED_MS) && told <= now;
  const at = before?.newest === newest ? before.at : right ? told : now;
  looks.set(receiver, { newest, at, looked: now });
  return [at];
}

/**
 * When media of a participant last arrived, on the clock of performance.now().
 *
 * @param {Pick<RemoteTrack, 'participant' | 'receiver'>[]} remote
 * @param {string} participant
 * @param {number} [now]
 * @returns {number | undefined} undefined when nothing arrived for so long that the browser forgot, or ever
 */
export function lastArrival(remote, participant, now = performance.now()) {
  const times = remote.filter((track) => track.participant === participant).flatMap(({ receiver }) => arrival(receiver, now));
  return times.length === 0 ? undefined : Math.max(...times);
}
