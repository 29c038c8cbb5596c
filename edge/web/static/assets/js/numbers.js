/**
 * @param {number} value
 * @param {number} [digits] after the point
 */
export function round(value, digits = 0) {
  const factor = 10 ** digits;
  return Math.round(value * factor) / factor;
}

/**
 * @param {number} part
 * @param {number} whole
 * @returns {number | undefined} 0 to 1; undefined when there is no whole
 */
export function share(part, whole) {
  if (!(whole > 0)) return undefined;
  return round(Math.min(1, Math.max(0, part / whole)), 4);
}
