import { confirmEnd, confirmRemove } from './dialogs.js';
import { arrangeRows, h, setText } from './dom.js';
import { icon } from './icons.js';
import { personAndRole, personLabel, texts } from './texts.js';

/**
 * Who is in the visit, and for those who may: ask to mute, remove, lock, end.
 *
 * @typedef {import('./protocol.js').Member} Member
 * @typedef {import('./protocol.js').ClientMessage} ClientMessage
 */
export class People {
  /**
   * @param {import('./protocol.js').Self} self
   * @param {(message: ClientMessage) => void} act
   * @param {() => void} close
   * @param {(who: string) => void} asked told after a mute request was sent
   */
  constructor(self, act, close, asked) {
    this.self = self;
    this.act = act;
    this.asked = asked;
    this.may = new Set(self.permissions ?? []);
    this.locked = false;
    /** @type {Map<string, Row>} */
    this.rows = new Map();
    this.heading = h('h2', { tabindex: -1 }, texts.people.heading);
    this.list = h('ul', { class: 'people-list' });
    this.lock = h('button', {
      type: 'button', class: 'button wide', 'data-testid': 'lock-button', 'aria-pressed': 'false',
      onclick: () => this.act({ type: 'lock', locked: !this.locked }),
    }, icon('lock'), h('span', {}, texts.people.lock));
    const end = h('button', {
      type: 'button', class: 'button wide danger-outline', 'data-testid': 'end-button',
      onclick: async () => (await confirmEnd()) && this.act({ type: 'end' }),
    }, texts.people.end);
    this.element = h('aside', { id: 'people-panel', class: 'panel', 'aria-label': texts.people.heading, 'data-testid': 'people-panel' },
      h('div', { class: 'panel-head' }, this.heading,
        h('button', { type: 'button', class: 'button icon-only panel-close', 'aria-label': texts.people.close, onclick: close }, icon('close'))),
      this.list,
      h('div', { class: 'panel-foot' },
        this.may.has('lock') ? this.lock : null,
        this.may.has('lock') ? h('p', { class: 'hint' }, texts.people.lockHint) : null,
        this.may.has('end') ? end : null),
    );
  }

  /**
   * @param {Member[]} members the admitted, oneself included
   * @param {boolean} locked
   * @param {Map<string, import('./protocol.js').Peer>} peers
   */
  update(members, locked, peers) {
    this.locked = locked;
    this.lock.setAttribute('aria-pressed', String(locked));
    setText(/** @type {Element} */ (this.lock.lastElementChild), locked ? texts.people.unlock : texts.people.lock);
    const present = new Set(members.map(({ participant }) => participant));
    for (const participant of this.rows.keys()) {
      if (!present.has(participant)) this.rows.delete(participant);
    }
    arrangeRows(this.list, members.map((member) => {
      const row = this.rows.get(member.participant) ?? this.#row(member);
      this.rows.set(member.participant, row);
      row.update(member, peers.get(member.participant)?.audio === true);
      return row.element;
    }), this.heading);
  }

  /** @param {Member} member */
  #row(member) {
    const { participant } = member;
    const own = participant === this.self.participant;
    const name = h('span', { class: 'person-name' });
    const note = h('span', { class: 'hint' });
    const askMute = this.may.has('mute-request') && !own ? h('button', {
      type: 'button', class: 'button small', 'data-testid': 'ask-mute-button', 'data-participant': participant,
      onclick: () => {
        this.act({ type: 'mute-request', participant, source: 'microphone' });
        this.asked(personLabel(row.member));
      },
    }, texts.people.askMute) : null;
    const remove = this.may.has('remove') && !own ? h('button', {
      type: 'button', class: 'button small', 'data-testid': 'remove-button', 'data-participant': participant,
      onclick: async () => (await confirmRemove(personLabel(row.member))) && this.act({ type: 'remove', participant }),
    }, texts.people.decline) : null;
    const element = h('li', { class: 'person', 'data-participant': participant },
      h('div', { class: 'person-text' }, name, note),
      askMute === null && remove === null ? null : h('div', { class: 'person-buttons' }, askMute, remove));
    /** @type {Row} */
    const row = {
      element,
      member,
      update: (now, audible) => {
        row.member = now;
        setText(name, personAndRole(now) + (own ? texts.people.you : ''));
        setText(note, now.connected ? '' : texts.people.notConnected);
        askMute?.setAttribute('aria-label', texts.people.askMuteLabel(personLabel(now)));
        remove?.setAttribute('aria-label', texts.people.removeLabel(personLabel(now)));
        if (askMute !== null) askMute.disabled = !audible;
      },
    };
    return row;
  }
}

/** @typedef {{ element: HTMLLIElement, member: Member, update: (member: Member, audible: boolean) => void }} Row */
