import { announce } from './announce.js';
import { Controls } from './controls.js';
import { muteRequest } from './dialogs.js';
import { h, show, videoElement } from './dom.js';
import { EncryptionMark } from './e2ee-mark.js';
import { icon } from './icons.js';
import { People } from './people.js';
import { changes, noticed, socketless } from './roster.js';
import { Sounds } from './sounds.js';
import { lastArrival } from './subscriber.js';
import { personAndRole, personLabel, texts } from './texts.js';
import { Tiles } from './tiles.js';
import { WaitingList } from './waitinglist.js';

/**
 * The call's view: it is told what happens and shows it; what the person does goes out through `act`.
 *
 * @typedef {import('./protocol.js').Member} Member
 * @typedef {import('./subscriber.js').RemoteTrack} RemoteTrack
 * @typedef {object} CallOptions
 * @property {import('./protocol.js').Self} self
 * @property {import('./media.js').LocalMedia} media
 * @property {import('./protocol.js').Source[]} allowed
 * @property {(message: import('./protocol.js').ClientMessage) => void} act
 * @property {(tiles: import('./protocol.js').ShownTile[]) => void} shown
 * @property {() => void} leave
 * @property {(text: string) => void} blocked the browser wants a tap, which is to call `resume`; the text says for what
 * @property {import('./e2ee.js').Shield | null} shield of an end-to-end encrypted visit
 */

/** From this width on the panel of people is open from the start for those who manage the visit. */
const ROOMY_PX = 1024;
/** How often members without a socket are looked at, as long as there are any. */
const WATCH_MS = 500;

export class Call {
  /** @param {CallOptions} options */
  constructor(options) {
    const { self, media, allowed, act } = options;
    this.self = self;
    this.media = media;
    /** @type {Member[]} */
    this.members = [];
    /** @type {Map<string, number>} since when members have had no socket */
    this.socketless = new Map();
    /** @type {RemoteTrack[]} */
    this.remote = [];
    /** @type {ReturnType<typeof setInterval> | undefined} */
    this.watch = undefined;
    this.locked = false;
    /** @type {{ close: () => void, source: string } | null} */
    this.request = null;
    this.blind = false;
    this.tiles = new Tiles(options.shown, () => {
      this.blind = true;
      options.blocked(texts.call.watch);
    });
    this.sounds = new Sounds(() => options.blocked(this.blind ? texts.call.watch : texts.call.hear));
    this.waiting = new WaitingList(act);
    this.people = new People(self, act, () => this.togglePeople(false), (who) => announce(texts.people.asked(who)));
    this.controls = new Controls(media, allowed, { leave: options.leave, togglePeople: () => this.togglePeople() });
    this.mark = new EncryptionMark();
    this.selfView = this.#selfView();
    this.setShield(options.shield);
    this.element = h('section', { class: 'call', 'data-testid': 'call' },
      h('h1', { class: 'visually-hidden', tabindex: -1 }, texts.call.heading),
      h('div', { class: 'call-main' }, this.waiting.element,
        h('div', { class: 'stage-wrap' }, this.tiles.element, this.selfView, this.mark.element)),
      this.people.element, this.controls.element, this.sounds.element);
    const manages = (self.permissions ?? []).includes('admit');
    this.togglePeople(manages && window.innerWidth >= ROOMY_PX);
    const off = [media.on('track', () => this.#refreshSelf()), media.on('state', () => this.#refreshSelf())];
    this.cleanup = () => off.forEach((remove) => remove());
    this.#refreshSelf();
  }

  /** Plays everything, after a tap or when the page is back. */
  resume() {
    this.blind = false;
    this.selfVideo?.play().catch(() => {});
    this.tiles.resume();
    this.sounds.resume();
  }

  /** @param {import('./protocol.js').Roster} roster */
  setRoster(roster) {
    const members = roster.members ?? [];
    this.#announceChanges(members, roster.locked);
    this.socketless = socketless(this.socketless, this.members, members, performance.now());
    this.members = members;
    clearInterval(this.watch);
    if (this.socketless.size > 0) this.watch = setInterval(() => this.#refresh(), WATCH_MS);
    this.locked = roster.locked;
    this.#refresh();
  }

  /** @param {import('./protocol.js').Peer[]} peers */
  setPeers(peers) {
    for (const peer of peers) {
      const member = this.members.find(({ participant }) => participant === peer.participant);
      if (member !== undefined && peer.screen && this.tiles.peers.get(peer.participant)?.screen !== true) {
        announce(texts.call.shares(personLabel(member)));
      }
    }
    this.tiles.setPeers(peers);
    this.#refresh();
  }

  /**
   * @param {RemoteTrack[]} remote
   * @param {boolean} selected whether that is a selection, as in large visits
   */
  setTracks(remote, selected) {
    this.remote = remote;
    this.tiles.setTracks(remote, selected);
    this.sounds.update(new Map(remote.filter(({ source }) => source === 'microphone').map((r) => [r.participant, r.track])));
  }

  /** @param {import('./e2ee.js').Shield | null} shield of an end-to-end encrypted visit */
  setShield(shield) {
    this.mark.setShield(shield);
    this.tiles.setUndecryptable(new Set());
  }

  /** @param {Set<string>} participants whose media cannot be decrypted */
  setUndecryptable(participants) {
    for (const member of this.members) {
      if (participants.has(member.participant) && !this.tiles.undecryptable.has(member.participant)) {
        announce(texts.e2ee.announced(personLabel(member)));
      }
    }
    this.tiles.setUndecryptable(participants);
  }

  /**
   * @param {string} by
   * @param {import('./protocol.js').Source} source
   */
  async askedToMute(by, source) {
    const sending = this.media.sending();
    const active = { microphone: sending.audio, camera: sending.video, screen: sending.screen }[source];
    if (!active || this.request !== null) return;
    const member = this.members.find(({ participant }) => participant === by);
    const dialog = muteRequest(personLabel(member ?? { role: 'provider' }), source);
    this.request = { close: dialog.close, source };
    const agreed = await dialog.answer;
    this.request = null;
    if (!agreed) return;
    if (source === 'microphone') await this.media.setMuted(true);
    else if (source === 'camera') await this.media.setCamera(false);
    else this.media.stopScreen();
  }

  /** @param {boolean} [open] */
  togglePeople(open = Boolean(this.people.element.hidden)) {
    this.people.element.hidden = !open;
    this.element.classList.toggle('with-panel', open);
    this.controls.setPeopleOpen(open);
    if (!open && this.element.isConnected) this.controls.people.focus();
  }

  dispose() {
    clearInterval(this.watch);
    this.cleanup();
    this.controls.dispose();
    this.tiles.dispose();
    this.sounds.dispose();
    this.request?.close();
  }

  #refresh() {
    const lastMedia = (/** @type {string} */ participant) => lastArrival(this.remote, participant);
    const members = noticed(this.members, this.socketless, lastMedia, performance.now());
    const admitted = members.filter(({ state }) => state === 'admitted');
    const mayAdmit = (this.self.permissions ?? []).includes('admit');
    this.waiting.update(mayAdmit ? members.filter(({ state }) => state === 'waiting') : []);
    this.tiles.setMembers(admitted.filter(({ participant }) => participant !== this.self.participant));
    this.people.update(admitted, this.locked, this.tiles.peers);
    this.controls.setPeopleCount(admitted.length);
  }

  /**
   * @param {Member[]} members
   * @param {boolean} locked
   */
  #announceChanges(members, locked) {
    const { joined, left, waits } = changes(this.members, members, this.self.participant);
    const came = this.members.length === 0 ? texts.call.here : texts.call.joined; // who comes last finds the others there
    if (joined.length > 0) announce(came(joined.map(personLabel)));
    if (left.length > 0) announce(texts.call.leftCall(left.map(personLabel)));
    if (waits.length > 0) announce(texts.call.waits(waits.map(personAndRole)));
    if (locked !== this.locked) announce(locked ? texts.call.locked : texts.call.unlocked);
  }

  #selfView() {
    this.selfVideo = videoElement();
    this.selfVideo.setAttribute('aria-hidden', 'true');
    this.selfMuted = h('span', { class: 'mark', role: 'img', 'aria-label': texts.call.mutedMark }, icon('mic-off'));
    this.selfOff = h('div', { class: 'placeholder' }, icon('camera-off'));
    return h('div', { class: 'self-view mirrored', 'data-testid': 'self-view', role: 'group', 'aria-label': texts.call.selfView },
      this.selfVideo, this.selfOff, h('div', { class: 'plate' }, this.selfMuted, h('span', {}, texts.call.you)));
  }

  #refreshSelf() {
    const { audio, video } = this.media.sending();
    if (this.selfVideo !== undefined) show(this.selfVideo, this.media.tracks.camera);
    if (this.selfOff !== undefined) this.selfOff.hidden = video;
    if (this.selfMuted !== undefined) this.selfMuted.hidden = audio;
    if (this.request?.source === 'microphone' && !audio) this.request.close();
  }
}
