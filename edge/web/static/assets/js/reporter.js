import { Emitter } from './emitter.js';
import { level, score } from './quality.js';
import { received, sent, transport } from './stats.js';

/**
 * Every 5 s: measures all legs, sends a `stats` message for each and tells the tiles how good the
 * connection of each participant is. Also answers the page's debug hook.
 *
 * @typedef {import('./leg.js').Leg} Leg
 * @typedef {Map<string, import('./quality.js').Level>} Marks
 *
 * @extends {Emitter<{ marks: Marks }>}
 */
export class Reporter extends Emitter {
  /**
   * @param {import('./legs.js').Legs} legs
   * @param {import('./signal.js').Signal} signal
   * @param {number} [everyMs]
   */
  constructor(legs, signal, everyMs = 5000) {
    super();
    this.legs = legs;
    this.signal = signal;
    /** @type {WeakMap<Leg, import('./stats.js').Previous>} */
    this.previous = new WeakMap();
    this.timer = setInterval(() => void this.#tick(), everyMs);
  }

  stop() {
    clearInterval(this.timer);
  }

  /** The debug summary: counters of every RTP stream, nothing personal. */
  async summary() {
    const rows = await Promise.all([...this.legs.open.values()].map((leg) => summarise(leg)));
    return rows.flat();
  }

  async #tick() {
    for (const leg of [...this.legs.open.values()]) {
      const message = await this.#measure(leg).catch(() => null);
      if (message !== null && !leg.closed) this.signal.send(message);
    }
  }

  /**
   * @param {Leg} leg
   * @returns {Promise<import('./protocol.js').Stats>}
   */
  async #measure(leg) {
    const [up, down] = await reports(leg);
    const before = this.previous.get(leg) ?? new Map();
    const receive = leg.remote.flatMap(({ mid, participant, source }) => {
      const entry = [...down.values()].find((e) => e.type === 'inbound-rtp' && e.mid === mid);
      return entry === undefined ? [] : [{ entry, stats: received(down, entry, before.get(entry.id), { participant, source }) }];
    });
    const send = leg.publisher.tracks().flatMap(({ mid, source }) => {
      const layers = [...up.values()].filter((e) => e.type === 'outbound-rtp' && e.mid === mid);
      return layers.length === 0 ? [] : [sent(up, layers, before, { source })];
    });
    const link = transport(leg.subscriber.started ? down : up);
    if (leg === this.legs.current) this.#mark(receive, before, link.rttMs);
    this.previous.set(leg, new Map([...up, ...down]));
    return {
      type: 'stats', ...leg.route,
      ice_state: (leg.subscriber.started ? leg.subscriber : leg.publisher).pc.iceConnectionState,
      ...(link.path === undefined ? {} : { path: link.path }),
      ...(link.rttMs === undefined ? {} : { rtt_ms: link.rttMs }),
      send,
      receive: receive.map(({ stats }) => stats),
    };
  }

  /**
   * @param {{ entry: any, stats: import('./protocol.js').TrackStats }[]} receive
   * @param {import('./stats.js').Previous} before
   * @param {number | undefined} rttMs
   */
  #mark(receive, before, rttMs) {
    /** @type {Map<string, number>} */
    const worst = new Map();
    for (const { entry, stats } of receive) {
      const value = score({
        rttMs, jitterMs: stats.jitter_ms, loss: stats.loss, concealed: stats.concealed,
        frozen: frozenShare(entry, before.get(entry.id)),
      });
      const participant = stats.participant ?? '';
      worst.set(participant, Math.min(value, worst.get(participant) ?? 5));
    }
    this.emit('marks', new Map([...worst].map(([participant, value]) => [participant, level(value)])));
  }
}

/**
 * @param {any} now
 * @param {any} before
 */
function frozenShare(now, before) {
  if (before === undefined || typeof now.totalFreezesDuration !== 'number') return 0;
  const seconds = (now.timestamp - before.timestamp) / 1000;
  return seconds > 0 ? (now.totalFreezesDuration - before.totalFreezesDuration) / seconds : 0;
}

/**
 * @param {Leg} leg
 * @returns {Promise<[Map<string, any>, Map<string, any>]>} of the publishing and the subscribing connection
 */
async function reports(leg) {
  const [up, down] = await Promise.all([leg.publisher.pc.getStats(), leg.subscriber.pc.getStats()]);
  return [toMap(up), toMap(down)];
}

/**
 * @param {RTCStatsReport} report
 * @returns {Map<string, any>}
 */
function toMap(report) {
  const map = new Map();
  report.forEach((entry, id) => map.set(id, entry));
  return map;
}

/** @param {Leg} leg */
async function summarise(leg) {
  const [up, down] = await reports(leg);
  const inbound = leg.remote.map(({ mid, participant, source }) => ({ mid, participant, source }));
  return [
    ...rows(leg, 'subscribe', down, 'inbound-rtp', inbound),
    ...rows(leg, 'publish', up, 'outbound-rtp', leg.publisher.tracks()),
  ];
}

/**
 * @param {Leg} leg
 * @param {import('./protocol.js').PeerConnectionName} pc
 * @param {Map<string, any>} report
 * @param {'inbound-rtp' | 'outbound-rtp'} type
 * @param {import('./protocol.js').Track[]} owners
 */
function rows(leg, pc, report, type, owners) {
  const { path } = transport(report);
  return [...report.values()].filter((entry) => entry.type === type).map((entry) => {
    const owner = owners.find((track) => track.mid === entry.mid);
    return {
      ...leg.route, pc, kind: entry.kind, participant: owner?.participant ?? '', source: owner?.source ?? '',
      rid: entry.rid, framesDecoded: entry.framesDecoded, packetsReceived: entry.packetsReceived,
      framesEncoded: entry.framesEncoded, packetsSent: entry.packetsSent,
      totalAudioEnergy: entry.totalAudioEnergy, frameWidth: entry.frameWidth, frameHeight: entry.frameHeight,
      codec: report.get(entry.codecId)?.mimeType, path,
    };
  });
}
