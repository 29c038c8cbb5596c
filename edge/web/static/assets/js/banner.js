import { announce } from './announce.js';
import { h, setText } from './dom.js';

/** The strip at the top that says what is wrong with the connection; one thing at a time. */
export class Banner {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    this.text = h('span', {});
    this.button = h('button', { type: 'button', class: 'button small', hidden: true });
    this.element.replaceChildren(this.text, this.button);
    this.reason = '';
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /**
   * @param {string} reason names the banner, so that only who showed it hides it
   * @param {string} text
   * @param {{ kind?: 'warn' | 'info', forMs?: number, button?: string, act?: () => void }} [options]
   */
  show(reason, text, { kind = 'warn', forMs = 0, button = '', act = () => {} } = {}) {
    clearTimeout(this.timer);
    this.reason = reason;
    this.element.dataset.kind = kind;
    if (this.text.textContent !== text || this.element.hidden) announce(text);
    setText(this.text, text);
    setText(this.button, button);
    this.button.hidden = button === '';
    this.button.onclick = () => {
      act();
      this.hide(reason);
    };
    this.element.hidden = false;
    if (forMs > 0) this.timer = setTimeout(() => this.hide(reason), forMs);
  }

  /** @param {string} reason */
  shows(reason) {
    return this.reason === reason && !this.element.hidden;
  }

  /** @param {string} reason */
  hide(reason) {
    if (this.reason === reason) this.element.hidden = true;
  }
}
