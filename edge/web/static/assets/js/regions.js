import { parse } from './address.js';

/**
 * Measures how far each region is before joining, so that a visit can be placed near its participants.
 * Whatever cannot be measured is left out: the gateway then decides without it.
 *
 * @typedef {Record<string, number>} RoundTrips milliseconds by region
 * @typedef {{ region: string, urls: string[] }} Region
 *
 * @typedef {object} Probe
 * @property {string} origin of this page's gateway
 * @property {(regions: Region[]) => void} [found] told of the regions before they are measured
 * @property {(url: string, init: RequestInit) => Promise<Response>} [fetch]
 * @property {() => number} [now] in milliseconds
 */

const PATH = '/v1/regions';
/** All measurements together take at most this long; a join does not wait for all of it. */
const BUDGET_MS = 2000;
/** The first request pays for the connection; the best of these does not. */
const TRIES = 3;
/** What a join may carry, and how many gateways of a region are asked. */
const MAX_REGIONS = 64;
const MAX_GATEWAYS = 2;

/**
 * Measures all regions in parallel; never rejects.
 *
 * @param {Probe} probe
 * @param {RoundTrips} into takes each result as soon as it is known
 * @returns {Promise<RoundTrips>}
 */
export async function measureRegions({ origin, found = () => {}, fetch = (url, init) => globalThis.fetch(url, init), now = () => performance.now() }, into = {}) {
  // Safari has it from 16 on; a join waits for none of this for long.
  const init = { signal: AbortSignal.timeout?.(BUDGET_MS), cache: /** @type {const} */ ('no-store'), credentials: /** @type {const} */ ('omit') };
  const ask = async (/** @type {string} */ at) => {
    const response = await fetch(new URL(PATH, at).href, init);
    const text = await response.text();
    if (!response.ok) throw new Error(`status ${response.status}`);
    return { text, policy: response.headers.get('content-security-policy') ?? '' };
  };
  const measure = async (/** @type {string} */ region, /** @type {string} */ url) => {
    for (let tries = 0; tries < TRIES; tries += 1) {
      const begin = now();
      await ask(url);
      const ms = Math.round((now() - begin) * 10) / 10;
      into[region] = Math.min(into[region] ?? Infinity, ms);
    }
  };
  try {
    const { text, policy } = await ask(origin);
    const regions = readRegions(text).slice(0, MAX_REGIONS);
    found(regions);
    const targets = regions.flatMap(({ region, urls }) =>
      urls.filter((url) => mayConnect(policy, origin, url)).slice(0, MAX_GATEWAYS).map((url) => measure(region, url)));
    await Promise.allSettled(targets);
  } catch {
    // Without the list there is nothing to measure.
  }
  return into;
}

/**
 * @param {string} text the answer to `GET /v1/regions`
 * @returns {Region[]} what is well-formed in it
 */
export function readRegions(text) {
  /** @type {{ regions?: unknown } | null} */
  const body = JSON.parse(text);
  const list = Array.isArray(body?.regions) ? body.regions : [];
  return list.filter((entry) => typeof entry?.region === 'string' && entry.region !== '' && Array.isArray(entry.urls))
    .map(({ region, urls }) => ({ region, urls: urls.filter((/** @type {unknown} */ url) => typeof url === 'string') }));
}

/**
 * Whether the page's policy lets it ask this gateway; asking all the same would only fill the console.
 *
 * @param {string} policy a Content-Security-Policy
 * @param {string} origin of the page
 * @param {string} url of a gateway
 */
export function mayConnect(policy, origin, url) {
  const target = parse(url);
  if (target === null) return false;
  if (target.origin === origin) return true;
  if (target.protocol !== 'https:') return false;
  const connect = policy.split(';').map((directive) => directive.trim().split(/\s+/)).find(([name]) => name === 'connect-src');
  return connect?.slice(1).some((source) => parse(source)?.origin === target.origin) ?? false;
}
