/** Speaks to screen readers through the page's polite live region, one sentence after the other. */

const GAP_MS = 700;

/** @type {string[]} */
const queue = [];
let speaking = false;

/** @param {string} text */
export function announce(text) {
  queue.push(text);
  if (!speaking) next();
}

function next() {
  const region = document.getElementById('announcer');
  const text = queue.shift();
  speaking = text !== undefined && region !== null;
  if (region === null || text === undefined) return;
  // The same sentence twice is only spoken twice when the region was empty in between.
  region.textContent = '';
  requestAnimationFrame(() => {
    region.textContent = text;
  });
  setTimeout(next, GAP_MS);
}
