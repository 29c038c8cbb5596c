import { h } from './dom.js';

/** Speaks to screen readers through a polite live region, one sentence after the other. */

const GAP_MS = 700;

/** @type {string[]} */
const queue = [];
let speaking = false;

/** @param {string} text */
export function announce(text) {
  queue.push(text);
  if (!speaking) next();
}

/** The live region of a dialog: while one is open the rest of the page is inert, the page's own region included. */
export function announcer() {
  return h('div', { class: 'announcer visually-hidden', role: 'status', 'aria-live': 'polite' });
}

function next() {
  const region = [...document.querySelectorAll('#announcer, dialog[open] > .announcer')].at(-1);
  const text = queue.shift();
  speaking = text !== undefined && region !== undefined;
  if (region === undefined || text === undefined) return;
  // The same sentence twice is only spoken twice when the region was empty in between.
  region.textContent = '';
  requestAnimationFrame(() => {
    region.textContent = text;
  });
  setTimeout(next, GAP_MS);
}
