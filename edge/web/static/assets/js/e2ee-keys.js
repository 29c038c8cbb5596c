/**
 * How two browsers of a visit keep a secret from the servers between them (docs/protocol.md, "End-to-end encryption"):
 * each has a P-256 key pair for one session, and what one sends to the other is sealed under a key of that pair and
 * direction.
 *
 * @typedef {import('./e2ee-frame.js').MediaKey} MediaKey
 * @typedef {{ participant: string, key: string }} Identity key: the public key as the protocol has it
 * @typedef {{ type: 'key', key: MediaKey } | { type: 'receipt', generation: number }} Letter
 */

import { SECRET_BYTES } from './e2ee-frame.js';

const CURVE = { name: 'ECDH', namedCurve: 'P-256' };
const NONCE_BYTES = 12;
const KIND_KEY = 1;
const KIND_RECEIPT = 2;
/** Work that somebody who looks for keys with a number to pass has for each try: a tenth of a second of a phone. */
const FINGERPRINT_ITERATIONS = 131_072;
const GROUPS = 6;
const GROUP_DIGITS = 5;

const encoder = new TextEncoder();

/** @param {Uint8Array} bytes */
function toBase64url(bytes) {
  return btoa(String.fromCharCode(...bytes)).replace(/\+/g, '-').replace(/\//g, '_').replace(/=+$/, '');
}

/** @param {string} text */
function fromBase64url(text) {
  return Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
}

/** @returns {Promise<{ privateKey: CryptoKey, key: string }>} */
export async function newIdentity() {
  const pair = await crypto.subtle.generateKey(CURVE, false, ['deriveBits']);
  return { privateKey: pair.privateKey, key: toBase64url(new Uint8Array(await crypto.subtle.exportKey('raw', pair.publicKey))) };
}

/**
 * The keys of two participants, one for each direction.
 *
 * @param {string} encounter
 * @param {{ privateKey: CryptoKey } & Identity} own
 * @param {Identity} other
 * @returns {Promise<{ out: CryptoKey, in: CryptoKey }>} rejects if the other's key is no point on the curve
 */
export async function pairKeys(encounter, own, other) {
  const theirs = await crypto.subtle.importKey('raw', fromBase64url(other.key), CURVE, false, []);
  const shared = await crypto.subtle.deriveBits({ name: 'ECDH', public: theirs }, own.privateKey, 256);
  const base = await crypto.subtle.importKey('raw', shared, 'HKDF', false, ['deriveKey']);
  /**
   * @param {Identity} from
   * @param {Identity} to
   */
  const direction = (from, to) => crypto.subtle.deriveKey({
    name: 'HKDF', hash: 'SHA-256', salt: encoder.encode(encounter),
    info: new Uint8Array([
      ...encoder.encode(`wardline e2ee seal\0${from.participant}\0${to.participant}\0`), ...fromBase64url(from.key), ...fromBase64url(to.key),
    ]),
  }, base, { name: 'AES-GCM', length: 256 }, false, ['encrypt', 'decrypt']);
  return { out: await direction(own, other), in: await direction(other, own) };
}

/**
 * @param {CryptoKey} key
 * @param {Letter} letter
 * @returns {Promise<string>} as the protocol's sender-key carries it
 */
export async function sealLetter(key, letter) {
  const generation = letter.type === 'key' ? letter.key.generation : letter.generation;
  const head = [letter.type === 'key' ? KIND_KEY : KIND_RECEIPT, generation >> 8, generation & 0xff];
  const body = letter.type === 'key' ? [letter.key.step, ...letter.key.secret] : [];
  const iv = crypto.getRandomValues(new Uint8Array(NONCE_BYTES));
  const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, new Uint8Array([...head, ...body]));
  return toBase64url(new Uint8Array([...iv, ...new Uint8Array(sealed)]));
}

/**
 * @param {CryptoKey} key
 * @param {string} data
 * @returns {Promise<Letter>} rejects if it was not sealed under this key, or makes no sense
 */
export async function openLetter(key, data) {
  const bytes = fromBase64url(data);
  const opened = await crypto.subtle.decrypt({ name: 'AES-GCM', iv: bytes.subarray(0, NONCE_BYTES) }, key, bytes.subarray(NONCE_BYTES));
  const [kind, high = 0, low = 0, step = 0, ...secret] = new Uint8Array(opened);
  const generation = high << 8 | low;
  if (kind === KIND_KEY && secret.length === SECRET_BYTES) {
    return { type: 'key', key: { generation, step, secret: new Uint8Array(secret) } };
  }
  if (kind === KIND_RECEIPT && opened.byteLength === 3) return { type: 'receipt', generation };
  throw new Error('a letter of an unknown kind');
}

/**
 * The safety number over everybody's public keys: equal for two people exactly if they know the same keys of the same
 * participants. It is slow on purpose.
 *
 * @param {string} encounter
 * @param {Identity[]} everybody oneself included, in any order
 * @returns {Promise<string[]>} six groups of five digits
 */
export async function safetyNumber(encounter, everybody) {
  const sorted = [...everybody].sort((a, b) => (a.participant < b.participant ? -1 : 1));
  const known = sorted.flatMap(({ participant, key }) => [...encoder.encode(`${participant}\0`), ...fromBase64url(key)]);
  const base = await crypto.subtle.importKey('raw', new Uint8Array(known), 'PBKDF2', false, ['deriveBits']);
  const bits = await crypto.subtle.deriveBits({
    name: 'PBKDF2', hash: 'SHA-256', iterations: FINGERPRINT_ITERATIONS, salt: encoder.encode(`wardline e2ee fingerprint\0${encounter}`),
  }, base, 128);
  const number = new Uint8Array(bits).reduce((sum, byte) => sum << 8n | BigInt(byte), 0n) % 10n ** BigInt(GROUPS * GROUP_DIGITS);
  return String(number).padStart(GROUPS * GROUP_DIGITS, '0').match(/.{5}/g) ?? [];
}
