/**
 * A score from 1 to 5 for what a person experiences, after ITU-T G.107 (E-model) for sound, reduced to
 * what a browser can measure, and a plain rule for pictures.
 *
 * @typedef {'good' | 'fair' | 'poor' | 'lost' | 'unknown'} Level
 * @typedef {object} Measures
 * @property {number} [rttMs]
 * @property {number} [jitterMs]
 * @property {number} [loss]        share of packets, 0 to 1
 * @property {number} [concealed]   share of samples, 0 to 1
 * @property {number} [frozen]      share of the time the picture stood still, 0 to 1
 */

/** One-way delay of codec and jitter buffer. */
const FIXED_DELAY_MS = 40;
/** How well Opus with concealment bears random loss, in percent (Bpl of G.107). */
const LOSS_ROBUSTNESS = 20;

/**
 * @param {Measures} measures
 * @returns {number} 1 (unusable) to 4.5 (best)
 */
export function score(measures) {
  const delay = (measures.rttMs ?? 0) / 2 + 2 * (measures.jitterMs ?? 0) + FIXED_DELAY_MS;
  const delayImpairment = 0.024 * delay + (delay > 177.3 ? 0.11 * (delay - 177.3) : 0);
  const lossPercent = 100 * Math.max(measures.loss ?? 0, (measures.concealed ?? 0) / 2);
  const lossImpairment = (95 * lossPercent) / (lossPercent + LOSS_ROBUSTNESS);
  const frozenImpairment = 100 * Math.min(1, measures.frozen ?? 0);
  const rating = clamp(93.2 - delayImpairment - lossImpairment - frozenImpairment, 0, 100);
  const mos = 1 + 0.035 * rating + rating * (rating - 60) * (100 - rating) * 7e-6;
  return clamp(mos, 1, 4.5);
}

/**
 * @param {number} value a score
 * @returns {Level}
 */
export function level(value) {
  if (value >= 3.6) return 'good';
  if (value >= 2.6) return 'fair';
  return 'poor';
}

/**
 * @param {number} value
 * @param {number} low
 * @param {number} high
 */
function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}
