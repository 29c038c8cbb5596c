import { h } from './dom.js';

/**
 * Speaks to screen readers through a polite live region, one sentence after the other. Nobody hears what a hidden page says, so
 * that waits until it is seen.
 */

const GAP_MS = 700;
/** Between emptying the region and filling it: the same sentence twice is only spoken twice when that was noticed. */
const PAUSE_MS = 50;
/** Of more sentences than these the newest count: what somebody just did should not wait for what many did before. */
const MOST = 8;

/** @type {string[]} */
const queue = [];
let speaking = false;

/** @param {string} text */
export function announce(text) {
  queue.push(text);
  if (queue.length > MOST) queue.shift();
  goOn();
}

function goOn() {
  if (!speaking) next();
}

/** The live region of a dialog: while one is open the rest of the page is inert, the page's own region included. */
export function announcer() {
  return h('div', { class: 'announcer visually-hidden', role: 'status', 'aria-live': 'polite' });
}

function next() {
  const region = [...document.querySelectorAll('#announcer, dialog[open] > .announcer')].at(-1);
  speaking = queue.length > 0 && region !== undefined && !document.hidden;
  if (document.hidden) document.addEventListener('visibilitychange', goOn, { once: true });
  if (!speaking || region === undefined) return;
  const text = queue.shift() ?? '';
  region.textContent = '';
  setTimeout(() => {
    region.textContent = text;
  }, PAUSE_MS);
  setTimeout(next, GAP_MS);
}
