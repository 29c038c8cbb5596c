/**
 * Whether single keys act in a visit. Who speaks to the computer, or types by accident, can switch them off (WCAG 2.1.4), and the
 * tab remembers that.
 */

const KEY = 'wardline.shortcuts';
const OFF = 'off';
/** What was chosen on this page, for browsers that refuse storage. @type {boolean | null} */
let chosen = null;

/** @returns {boolean} */
export function shortcutsOn() {
  if (chosen !== null) return chosen;
  try {
    return sessionStorage.getItem(KEY) !== OFF;
  } catch {
    return true;
  }
}

/** @param {boolean} on */
export function switchShortcuts(on) {
  chosen = on;
  try {
    if (on) sessionStorage.removeItem(KEY);
    else sessionStorage.setItem(KEY, OFF);
  } catch {
    // It is as chosen until the page goes.
  }
}
