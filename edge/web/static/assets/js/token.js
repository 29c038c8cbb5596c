/**
 * The join token travels in the link's fragment, which browsers never send anywhere. It is taken out
 * of the address bar at once and kept only in this tab's session storage, so that a reload works.
 */

const KEY = 'wardline.token';
const CLAIM = 'https://wardline.health/claims/visit';

/** @typedef {{ role: string, name: string, participant: string, encounter: string, e2ee: boolean }} Claims */

/**
 * Takes the token from the fragment, or from before a reload.
 *
 * @param {Pick<Location, 'hash' | 'pathname' | 'search'>} location
 * @param {Pick<History, 'replaceState'>} history
 * @param {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>} storage
 * @returns {string} the token, or '' when the link had none
 */
export function takeToken(location, history, storage) {
  const fragment = location.hash.replace(/^#/, '');
  if (fragment === '') return read(storage);
  history.replaceState(null, '', location.pathname + location.search);
  if (!looksLikeToken(fragment)) {
    forgetToken(storage); // of another visit, perhaps somebody else's
    return '';
  }
  try {
    storage.setItem(KEY, fragment);
  } catch {
    // Private modes refuse storage: the visit works, only a reload will need the link again.
  }
  return fragment;
}

/** @param {Pick<Storage, 'removeItem'>} storage */
export function forgetToken(storage) {
  try {
    storage.removeItem(KEY);
  } catch {
    // Nothing could be stored, so there is nothing to forget.
  }
}

/**
 * Reads what the token says, for display, and for what this page would not do otherwise: the gateway is the one that verifies.
 *
 * @param {string} token
 * @returns {Claims}
 */
export function readClaims(token) {
  const claims = { role: '', name: '', participant: '', encounter: '', e2ee: false };
  const payload = decodeSegment(token.split('.')[1] ?? '');
  if (!isObject(payload)) return claims;
  const visit = isObject(payload[CLAIM]) ? payload[CLAIM] : {};
  claims.role = text(visit.role);
  claims.name = text(visit.name);
  claims.encounter = text(visit.encounter);
  claims.participant = text(payload.sub);
  claims.e2ee = visit.e2ee === true;
  return claims;
}

/** @param {string} value */
function looksLikeToken(value) {
  return /^[\w-]+\.[\w-]+\.[\w-]*$/.test(value) && value.length <= 8192;
}

/** @param {Pick<Storage, 'getItem'>} storage */
function read(storage) {
  try {
    return storage.getItem(KEY) ?? '';
  } catch {
    return '';
  }
}

/**
 * @param {string} segment base64url
 * @returns {unknown}
 */
function decodeSegment(segment) {
  try {
    const binary = atob(segment.replace(/-/g, '+').replace(/_/g, '/'));
    const bytes = Uint8Array.from(binary, (c) => c.charCodeAt(0));
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null;
  }
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
function isObject(value) {
  return typeof value === 'object' && value !== null;
}

/** @param {unknown} value */
function text(value) {
  return typeof value === 'string' ? value.slice(0, 200) : '';
}
