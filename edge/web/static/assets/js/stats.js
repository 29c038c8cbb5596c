import { round, share } from './numbers.js';

/**
 * Turns RTCStatsReports into the protocol's `stats` message, the tiles' marks and the debug summary.
 *
 * @typedef {import('./protocol.js').TrackStats} TrackStats
 * @typedef {Map<string, any>} Report     an RTCStatsReport, read as a map of plain entries
 * @typedef {{ participant?: string, source: import('./protocol.js').Source }} Owner
 * @typedef {Map<string, any>} Previous   the entries of the last report, by their id
 */

/**
 * How media travels, from the nominated candidate pair.
 *
 * @param {Report} report
 * @returns {{ path?: string, rttMs?: number }}
 */
export function transport(report) {
  const pair = selectedPair(report);
  if (pair === undefined) return {};
  const local = report.get(pair.localCandidateId);
  const rtt = pair.currentRoundTripTime;
  return {
    ...(local === undefined ? {} : { path: pathOf(local) }),
    ...(typeof rtt === 'number' ? { rttMs: round(rtt * 1000, 1) } : {}),
  };
}

/** @param {Report} report */
function selectedPair(report) {
  for (const entry of report.values()) {
    if (entry.type === 'transport' && entry.selectedCandidatePairId) return report.get(entry.selectedCandidatePairId);
  }
  return [...report.values()].find((entry) => entry.type === 'candidate-pair' && entry.nominated && entry.state === 'succeeded');
}

/** @param {any} candidate */
function pathOf(candidate) {
  if (candidate.candidateType === 'relay') return `relay-${candidate.relayProtocol ?? 'udp'}`;
  return candidate.protocol === 'tcp' ? 'tcp' : 'udp';
}

/**
 * @param {Report} report
 * @param {any} entry
 */
function codecOf(report, entry) {
  const mime = report.get(entry.codecId)?.mimeType;
  return typeof mime === 'string' ? mime.split('/')[1]?.slice(0, 32) : undefined;
}

/**
 * One received track.
 *
 * @param {Report} report
 * @param {any} now an inbound-rtp entry
 * @param {any} before the same entry of the last report
 * @param {Owner} owner
 * @returns {TrackStats}
 */
export function received(report, now, before, owner) {
  const lost = delta(now, before, 'packetsLost');
  const seconds = (now.timestamp - (before?.timestamp ?? now.timestamp)) / 1000;
  return compact({
    participant: owner.participant,
    source: owner.source,
    codec: codecOf(report, now),
    bitrate_bps: seconds > 0 ? round((8 * (delta(now, before, 'bytesReceived') ?? 0)) / seconds) : undefined,
    jitter_ms: typeof now.jitter === 'number' ? round(now.jitter * 1000, 1) : undefined,
    loss: share(Math.max(0, lost ?? 0), Math.max(0, lost ?? 0) + (delta(now, before, 'packetsReceived') ?? 0)),
    fps: now.framesPerSecond,
    width: now.frameWidth,
    height: now.frameHeight,
    freezes: now.freezeCount,
    freeze_ms: typeof now.totalFreezesDuration === 'number' ? round(now.totalFreezesDuration * 1000) : undefined,
    frames_decoded: now.kind === 'video' ? now.framesDecoded : undefined,
    concealed: now.kind === 'audio' ? share(audible(now, before), delta(now, before, 'totalSamplesReceived') ?? 0) : undefined,
  });
}

/**
 * Samples that were made up because packets were missing, not because nobody spoke.
 *
 * @param {any} now
 * @param {any} before
 */
function audible(now, before) {
  return Math.max(0, (delta(now, before, 'concealedSamples') ?? 0) - (delta(now, before, 'silentConcealedSamples') ?? 0));
}

/**
 * One sent source: its layers together, its size that of the largest active layer.
 *
 * @param {Report} report
 * @param {any[]} layers the outbound-rtp entries of one source
 * @param {Previous} previous
 * @param {Owner} owner
 * @returns {TrackStats}
 */
export function sent(report, layers, previous, owner) {
  const top = layers.reduce((best, layer) => ((layer.frameWidth ?? 0) >= (best.frameWidth ?? 0) ? layer : best));
  /** @type {number | undefined} */
  let rate;
  /** @type {number | undefined} */
  let loss;
  for (const layer of layers) {
    const before = previous.get(layer.id);
    const seconds = before === undefined ? 0 : (layer.timestamp - before.timestamp) / 1000;
    if (seconds > 0) rate = (rate ?? 0) + (8 * (delta(layer, before, 'bytesSent') ?? 0)) / seconds;
    const remote = report.get(layer.remoteId);
    if (typeof remote?.fractionLost === 'number') loss = Math.max(loss ?? 0, remote.fractionLost);
  }
  return compact({
    source: owner.source,
    codec: codecOf(report, top),
    bitrate_bps: rate === undefined ? undefined : round(rate),
    loss: loss === undefined ? undefined : share(loss, 1),
    fps: top.framesPerSecond,
    width: top.frameWidth,
    height: top.frameHeight,
  });
}

/**
 * @param {any} now
 * @param {any} before
 * @param {string} key
 * @returns {number | undefined} growth since the last report, or since the start when there was none
 */
function delta(now, before, key) {
  if (typeof now?.[key] !== 'number') return undefined;
  return now[key] - (typeof before?.[key] === 'number' ? before[key] : 0);
}

/**
 * Drops members that were not measured: absent is not zero.
 *
 * @param {Record<string, any>} entry
 * @returns {TrackStats}
 */
function compact(entry) {
  return /** @type {TrackStats} */ (Object.fromEntries(Object.entries(entry).filter(([, value]) => value !== undefined)));
}
