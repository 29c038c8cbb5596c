/**
 * @typedef {import('./protocol.js').Source} Source
 */

/** @type {[string, Source][]} */
const PUBLISHING = [
  ['publish-audio', 'microphone'],
  ['publish-video', 'camera'],
  ['publish-screen', 'screen'],
];

/**
 * @param {string[]} permissions of `welcome`
 * @returns {Source[]} what may be sent
 */
export function publishable(permissions) {
  return PUBLISHING.filter(([action]) => permissions.includes(action)).map(([, source]) => source);
}

/**
 * Before the welcome only the token's role is known: the device check is pointless for those who only
 * listen. The gateway decides what is really allowed.
 *
 * @param {string} role
 */
export function likelyPublishes(role) {
  return role !== 'scribe';
}
