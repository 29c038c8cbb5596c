// What somebody receives, by their browser's getStats: a record of samples, and the figures that follow from it.

/** How often a sample is taken, in ms: gaps between packets are known to that. */
export const EVERY_MS = 100;

/** Keeps a page's peer connections where tests find them. */
export function watchPeers({ context }) {
  return context.addInitScript(() => {
    window.peers = [];
    const Original = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Original {
      constructor(...args) {
        super(...args);
        window.peers.push(this);
      }
    };
  });
}

/** Starts to record what a person receives. */
export function record({ page }) {
  return page.evaluate((every) => {
    const recording = { samples: [], stop: false };
    window.recording = recording;
    const wanted = {
      video: ['framesDecoded', 'keyFramesDecoded', 'freezeCount', 'totalFreezesDuration', 'bytesReceived', 'packetsReceived', 'packetsLost',
        'frameHeight', 'nackCount', 'pliCount', 'retransmittedPacketsReceived', 'estimatedPlayoutTimestamp'],
      audio: ['totalSamplesReceived', 'concealedSamples', 'silentConcealedSamples', 'bytesReceived', 'packetsReceived', 'packetsLost',
        'estimatedPlayoutTimestamp', 'lastPacketReceivedTimestamp', 'timestamp'],
    };
    const sample = async () => {
      const at = performance.now();
      const taken = { at, streams: [], rtt: [] };
      for (const [number, peer] of window.peers.entries()) {
        if (peer.connectionState === 'closed' || !peer.getTransceivers().some(({ currentDirection }) => currentDirection === 'recvonly')) continue;
        const report = await peer.getStats();
        for (const entry of report.values()) {
          if (entry.type === 'inbound-rtp') {
            const counters = Object.fromEntries(wanted[entry.kind].map((name) => [name, entry[name]]));
            taken.streams.push({ key: `${number}/${entry.id}`, kind: entry.kind, ...counters });
          } else if (entry.type === 'transport') {
            const { currentRoundTripTime } = report.get(entry.selectedCandidatePairId) ?? {};
            if (currentRoundTripTime !== undefined) taken.rtt.push(1000 * currentRoundTripTime);
          }
        }
      }
      return taken;
    };
    recording.done = (async () => {
      while (!recording.stop) {
        const taken = await sample();
        recording.samples.push(taken);
        await new Promise((resolve) => { setTimeout(resolve, Math.max(0, taken.at + every - performance.now())); });
      }
      recording.samples.push(await sample());
    })();
  }, EVERY_MS);
}

/** Ends that and returns the samples. */
export function recorded({ page }) {
  return page.evaluate(async () => {
    window.recording.stop = true;
    await window.recording.done;
    return window.recording.samples;
  });
}

/** The page's clock, which samples are on. */
export const clock = ({ page }) => page.evaluate(() => performance.now());

/**
 * The samples as steps: how much each counter grew since the one before, and what is so at the moment. A stream that
 * is new, as on a new leg, has grown from zero; one that ended no longer grows.
 */
export function steps(samples) {
  const before = new Map();
  const all = [];
  samples.forEach(({ at, streams, rtt }, index) => {
    const step = { at, rtt: median(rtt), height: 0, gap: undefined, skew: undefined, video: {}, audio: {} };
    const played = {};
    for (const stream of streams) {
      const last = before.get(stream.key) ?? {};
      for (const [name, value] of Object.entries(stream)) {
        if (typeof value !== 'number') continue;
        step[stream.kind][name] = (step[stream.kind][name] ?? 0) + Math.max(0, value - (last[name] ?? 0));
      }
      const grew = (stream.packetsReceived ?? 0) > (last.packetsReceived ?? 0);
      if (stream.kind === 'video' && grew) step.height = Math.max(step.height, stream.frameHeight ?? 0);
      if (stream.kind === 'audio' && stream.lastPacketReceivedTimestamp !== undefined) {
        step.gap = Math.min(step.gap ?? Infinity, stream.timestamp - stream.lastPacketReceivedTimestamp);
      }
      if (grew && stream.estimatedPlayoutTimestamp !== undefined) played[stream.kind] = stream.estimatedPlayoutTimestamp;
      before.set(stream.key, stream);
    }
    if (played.audio !== undefined && played.video !== undefined) step.skew = played.audio - played.video;
    if (index > 0) all.push(step); // the first says only where the counters stood
  });
  return all;
}

/** The figures of a row of docs/benchmarks.md. */
export function figures(samples) {
  const all = steps(samples);
  const seconds = (samples.at(-1).at - samples[0].at) / 1000;
  const total = (kind, name) => all.reduce((sum, step) => sum + (step[kind][name] ?? 0), 0);
  const lost = total('video', 'packetsLost') + total('audio', 'packetsLost');
  const received = total('video', 'packetsReceived') + total('audio', 'packetsReceived');
  const made = total('audio', 'concealedSamples') - total('audio', 'silentConcealedSamples');
  return {
    seconds: round(seconds, 1),
    freezes: total('video', 'freezeCount'),
    frozenMs: Math.round(1000 * total('video', 'totalFreezesDuration')),
    freezeMs: Math.round(longestFreeze(samples)),
    gapMs: Math.round(Math.max(0, ...all.map(({ gap }) => gap ?? 0))),
    concealed: round(100 * share(Math.max(0, made), total('audio', 'totalSamplesReceived')), 2),
    lost: round(100 * share(lost, lost + received), 2),
    fps: round(total('video', 'framesDecoded') / seconds, 1),
    kbps: Math.round((8 * (total('video', 'bytesReceived') + total('audio', 'bytesReceived'))) / seconds / 1000),
    voices: round(total('audio', 'packetsReceived') / seconds, 1),
    height: all.at(-1)?.height ?? 0,
    rttMs: Math.round(median(all.flatMap(({ rtt }) => rtt ?? [])) ?? 0),
    skewMs: skew(all),
    asked: { nacks: total('video', 'nackCount'), plis: total('video', 'pliCount') },
    resent: total('video', 'retransmittedPacketsReceived'), keyFrames: total('video', 'keyFramesDecoded'),
  };
}

/** Pictures stand still from the last one until the next; a browser counts that when the next has come. */
function longestFreeze(samples) {
  const all = steps(samples);
  let longest = 0;
  let since = samples[0].at;
  for (const { at, video } of all) {
    if (video.freezeCount > 0) longest = Math.max(longest, (1000 * video.totalFreezesDuration) / video.freezeCount);
    if (video.framesDecoded > 0) since = at;
  }
  const still = samples.at(-1).at - since;
  return still > STILL_MS ? Math.max(longest, still) : longest;
}

/** From so long without a new picture on somebody notices. */
const STILL_MS = 500;
/** From so long without a packet of a voice on a word is lost. */
const WORD_MS = 200;
/** For so long nothing has to disturb before it counts as over. */
const CALM_MS = 2000;

/**
 * How long after a change of the network pictures and voices go on undisturbed, for CALM_MS at least, in ms: no picture that stands
 * still, no voice that is gone. Undefined if they never do.
 */
export function fitted(samples, changedAt) {
  let picture = changedAt;
  let calm = changedAt;
  for (const { at, video, gap } of steps(samples).filter((step) => step.at > changedAt)) {
    if (at - picture > STILL_MS || gap > WORD_MS) calm = at;
    if (at - calm >= CALM_MS) return Math.round(calm - changedAt);
    if (video.framesDecoded > 0) picture = at;
  }
  return undefined;
}

/** How long after a moment pictures of a height came, in ms; undefined if none did. */
export function reached(samples, height, from) {
  const first = steps(samples).find((step) => step.at > from && step.height >= height && step.video.framesDecoded > 0);
  return first === undefined ? undefined : Math.round(first.at - from);
}

/** By how much sound is ahead of the picture, in ms: what is heard was said so much later. The median, since each is an estimate. */
function skew(all) {
  const value = median(all.flatMap((step) => step.skew ?? []));
  return value === undefined ? undefined : Math.round(value);
}

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

const share = (part, whole) => (whole > 0 ? part / whole : 0);
const round = (value, digits) => Math.round(value * 10 ** digits) / 10 ** digits;
