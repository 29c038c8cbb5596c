import { announce } from './announce.js';
import { h, setText } from './dom.js';

/**
 * The strip at the top that says what is wrong with the connection; one thing at a time, the newest of those that are not over.
 *
 * @typedef {{ text: string, kind: 'warn' | 'info', button: string, act: () => void, timer: ReturnType<typeof setTimeout> | undefined }} Notice
 */
export class Banner {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.text = h('span', {});
    this.button = h('button', { type: 'button', class: 'button small', hidden: true });
    this.element.replaceChildren(this.text, this.button);
    /** @type {Map<string, Notice>} by reason, the newest last */
    this.notices = new Map();
  }

  /**
   * @param {string} reason names the banner, so that only who showed it hides it
   * @param {string} text
   * @param {{ kind?: 'warn' | 'info', forMs?: number, button?: string, act?: () => void }} [options]
   */
  show(reason, text, { kind = 'warn', forMs = 0, button = '', act = () => {} } = {}) {
    if (this.text.textContent !== text || this.element.hidden) announce(text);
    this.#forget(reason);
    const timer = forMs > 0 ? setTimeout(() => this.hide(reason), forMs) : undefined;
    this.notices.set(reason, { text, kind, button, act, timer });
    this.#render();
  }

  /** @param {string} reason */
  shows(reason) {
    return this.notices.has(reason);
  }

  /** @param {string} reason */
  hide(reason) {
    this.#forget(reason);
    this.#render();
  }

  clear() {
    for (const reason of [...this.notices.keys()]) this.hide(reason);
  }

  /** @param {string} reason */
  #forget(reason) {
    clearTimeout(this.notices.get(reason)?.timer);
    this.notices.delete(reason);
  }

  #render() {
    const [reason, notice] = [...this.notices].at(-1) ?? [];
    this.element.hidden = notice === undefined;
    if (reason === undefined || notice === undefined) return;
    this.element.dataset.kind = notice.kind;
    setText(this.text, notice.text);
    setText(this.button, notice.button);
    this.button.hidden = notice.button === '';
    this.button.onclick = () => {
      notice.act();
      this.hide(reason);
      if (this.element.hidden || this.button.hidden) document.querySelector('h1')?.focus(); // or the focus goes with the button
    };
  }
}
