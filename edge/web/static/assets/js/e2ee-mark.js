import { announce } from './announce.js';
import { ask } from './dialogs.js';
import { h, setText } from './dom.js';
import { icon } from './icons.js';
import { texts } from './texts.js';

/**
 * The lock of an end-to-end encrypted visit, and the dialog with its safety number. Once somebody has looked at the number,
 * the lock says when it is another one.
 */
export class EncryptionMark {
  constructor() {
    /** @type {import('./e2ee.js').Shield | null} */
    this.shield = null;
    /** The number that was looked at last. */
    this.seen = '';
    /** Where the open dialog has the number. @type {HTMLElement | null} */
    this.digits = null;
    /** Counts what was asked for: numbers take their time, and the last one counts. */
    this.asked = 0;
    this.off = () => {};
    this.text = h('span', {});
    this.element = h('button', {
      type: 'button', class: 'e2ee-mark', 'data-testid': 'e2ee-button', 'aria-haspopup': 'dialog', onclick: () => void this.#show(),
    }, icon('lock'), this.text);
    this.#say(false);
  }

  /** @param {import('./e2ee.js').Shield | null} shield null for a visit that is not encrypted end to end */
  setShield(shield) {
    this.off();
    this.shield = shield;
    this.element.hidden = shield === null;
    this.off = shield?.on('changed', () => void this.#update().catch(() => {})) ?? (() => {});
  }

  /** Shows the present number in the open dialog, or says that it is another one than the one that was looked at. */
  async #update() {
    if (this.shield === null || this.digits === null && this.seen === '') return;
    const asked = this.asked += 1;
    const groups = await this.shield.number();
    if (asked !== this.asked) return;
    if (this.digits !== null) {
      this.seen = groups.join('');
      this.digits.replaceChildren(...groups.map((group) => h('span', {}, group)));
    }
    this.#say(this.seen !== '' && groups.join('') !== this.seen);
  }

  /** @param {boolean} changed */
  #say(changed) {
    const label = changed ? texts.e2ee.changedLabel : texts.e2ee.markLabel;
    if (changed && !this.element.classList.contains('changed')) announce(label);
    this.element.classList.toggle('changed', changed);
    this.element.setAttribute('aria-label', label);
    this.element.title = label;
    setText(this.text, changed ? texts.e2ee.changedMark : texts.e2ee.mark);
  }

  async #show() {
    if (this.shield === null) return;
    this.digits = h('p', { class: 'safety-number', 'data-testid': 'safety-number', 'aria-live': 'polite' });
    const body = h('div', {}, h('p', {}, texts.e2ee.compare), this.digits, h('p', { class: 'hint' }, texts.e2ee.differs));
    const dialog = ask({ title: texts.e2ee.title, body, yes: texts.dialogs.done, testid: 'e2ee-dialog' });
    await this.#update().catch(() => {});
    await dialog.answer;
    this.digits = null;
  }
}
