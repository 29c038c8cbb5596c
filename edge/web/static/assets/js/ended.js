import { h } from './dom.js';
import { icon } from './icons.js';
import { ending, texts } from './texts.js';

/**
 * The last screen: what happened, and what the person can do.
 *
 * @param {string} code of `bye` or `error`
 * @param {() => void} again
 * @returns {HTMLElement}
 */
export function endScreen(code, again) {
  const { title, text, again: kind } = ending(code);
  const button = kind === '' ? null : h('button', { type: 'button', class: 'button primary', onclick: again }, texts.ended[kind]);
  return h('section', { class: 'card ended', 'data-testid': 'end-screen', 'data-code': code, 'aria-labelledby': 'end-heading' },
    h('div', { class: 'end-mark', 'aria-hidden': 'true' }, icon(code === 'left' || code === 'ended' ? 'person' : 'alert')),
    h('h1', { id: 'end-heading', tabindex: -1 }, title),
    h('p', {}, text),
    button,
  );
}
