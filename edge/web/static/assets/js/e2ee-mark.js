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
    this.off = shield?.on('changed', () => void this.#compare(shield).catch(() => {})) ?? (() => {});
  }

  /** @param {import('./e2ee.js').Shield} shield */
  async #compare(shield) {
    if (this.seen !== '') this.#say((await shield.number()).join('') !== this.seen);
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
    const { shield } = this;
    if (shield === null) return;
    const digits = h('p', { class: 'safety-number', 'data-testid': 'safety-number', 'aria-live': 'polite' });
    const refresh = async () => {
      const groups = await shield.number();
      this.seen = groups.join('');
      this.#say(false);
      digits.replaceChildren(...groups.map((group) => h('span', {}, group)));
    };
    const off = shield.on('changed', () => void refresh().catch(() => {}));
    const body = h('div', {}, h('p', {}, texts.e2ee.compare), digits, h('p', { class: 'hint' }, texts.e2ee.differs));
    const dialog = ask({ title: texts.e2ee.title, body, yes: texts.dialogs.done, testid: 'e2ee-dialog' });
    await refresh().catch(() => {});
    await dialog.answer;
    off();
  }
}
