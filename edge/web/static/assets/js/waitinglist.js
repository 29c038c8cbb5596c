import { confirmRemove } from './dialogs.js';
import { arrangeRows, h, setText } from './dom.js';
import { personAndRole, personLabel, texts } from './texts.js';

/**
 * Who waits to be admitted: above the stage, where nobody overlooks it.
 *
 * @typedef {import('./protocol.js').Member} Member
 */
export class WaitingList {
  /** @param {(message: import('./protocol.js').ClientMessage) => void} act */
  constructor(act) {
    this.act = act;
    /** @type {Map<string, { element: HTMLLIElement, name: HTMLElement, note: HTMLElement }>} */
    this.rows = new Map();
    this.heading = h('h2', { tabindex: -1 }, texts.people.waiting);
    this.list = h('ul', { class: 'waiting-rows' });
    this.element = h('section', { class: 'waiting-list', 'data-testid': 'waiting-list', 'aria-label': texts.people.waiting, hidden: true },
      this.heading, this.list);
  }

  /** @param {Member[]} members */
  update(members) {
    const present = new Set(members.map(({ participant }) => participant));
    for (const participant of this.rows.keys()) {
      if (!present.has(participant)) this.rows.delete(participant);
    }
    const rows = members.map((member) => {
      const row = this.rows.get(member.participant) ?? this.#row(member);
      this.rows.set(member.participant, row);
      setText(row.name, personAndRole(member));
      setText(row.note, member.connected ? '' : texts.people.notConnected);
      return row.element;
    });
    arrangeRows(this.list, rows, rows.length > 0 ? this.heading : document.querySelector('h1'));
    this.element.hidden = members.length === 0;
  }

  /** @param {Member} member */
  #row(member) {
    const { participant } = member;
    const who = personLabel(member);
    const name = h('span', { class: 'person-name' });
    const note = h('span', { class: 'hint' });
    const element = h('li', { class: 'person', 'data-participant': participant },
      h('div', { class: 'person-text' }, name, note),
      h('div', { class: 'person-buttons' },
        h('button', {
          type: 'button', class: 'button', 'aria-label': texts.people.removeLabel(who), 'data-testid': 'decline-button', 'data-participant': participant,
          onclick: async () => (await confirmRemove(who)) && this.act({ type: 'remove', participant }),
        }, texts.people.decline),
        h('button', {
          type: 'button', class: 'button primary', 'aria-label': texts.people.admitLabel(who), 'data-testid': 'admit-button', 'data-participant': participant,
          // The second click of a double click is not meant for whoever has moved up under the pointer.
          onclick: (/** @type {MouseEvent} */ { detail }) => detail < 2 && this.act({ type: 'admit', participant }),
        }, texts.people.admit)));
    return { element, name, note };
  }
}
