/**
 * URL.parse() for browsers that do not have it: phones that get no new system are patients' phones.
 *
 * @param {string} text
 * @returns {URL | null} null if it is none
 */
export function parse(text) {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}
