import { arrange, h } from './dom.js';
import { grid, onStage, typicalAspect } from './layout.js';
import { texts } from './texts.js';
import { Tile } from './tile.js';
import { View } from './view.js';

/**
 * The stage: a tile for each of the others, and large ones for a shared screen and for somebody who is kept large.
 *
 * @typedef {import('./protocol.js').Member} Member
 * @typedef {import('./protocol.js').Peer} Peer
 * @typedef {import('./subscriber.js').RemoteTrack} RemoteTrack
 */
export class Tiles {
  /**
   * @param {(tiles: import('./protocol.js').ShownTile[]) => void} shown told how large each picture is shown
   * @param {() => void} blocked called when the browser wants a tap before it plays a picture
   */
  constructor(shown, blocked) {
    this.blocked = blocked;
    this.view = new View(() => this.#measure(), shown);
    /** @type {Map<string, Tile>} by participant and source */
    this.tiles = new Map();
    /** @type {Member[]} */
    this.members = [];
    /** @type {Map<string, Peer>} */
    this.peers = new Map();
    /** @type {Map<string, MediaStreamTrack>} */
    this.tracks = new Map();
    this.selected = false;
    /** Whom this page keeps large. */
    this.pinned = '';
    this.speaker = '';
    /** @type {Set<string>} videos that the connection is too slow for */
    this.paused = new Set();
    /** @type {Set<string>} whose media cannot be decrypted */
    this.undecryptable = new Set();
    /** @type {import('./reporter.js').Marks} */
    this.marks = new Map();
    this.large = h('div', { class: 'large' });
    this.grid = h('div', { class: 'grid' });
    this.empty = h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, texts.call.alone), h('p', { class: 'hint' }, texts.call.aloneHint));
    this.element = h('div', { class: 'stage', role: 'region', 'aria-label': texts.call.stage }, this.large, this.grid, this.empty);
    this.observer = new ResizeObserver(() => this.#fit());
    this.observer.observe(this.element);
  }

  /** @param {Member[]} members the admitted others */
  setMembers(members) {
    this.members = members;
    const present = new Set(members.map(({ participant }) => participant));
    if (!present.has(this.pinned)) this.pinned = '';
    for (const participant of this.peers.keys()) {
      if (!present.has(participant)) this.peers.delete(participant);
    }
    this.#render();
  }

  /** @param {Peer[]} peers somebody who is missing may still be on the way: their last state is kept */
  setPeers(peers) {
    for (const peer of peers) this.peers.set(peer.participant, peer);
    this.#render();
  }

  /**
   * @param {RemoteTrack[]} remote
   * @param {boolean} selected whether that is a selection, as in large visits
   */
  setTracks(remote, selected) {
    this.selected = selected;
    this.tracks = new Map(remote.map(({ participant, source, track }) => [`${participant}/${source}`, track]));
    this.#render();
  }

  /** @param {import('./protocol.js').Track[]} tracks all videos that are paused because the connection is slow */
  setPaused(tracks) {
    this.paused = new Set(tracks.map(({ participant, source }) => `${participant}/${source}`));
    this.#render();
  }

  /** @param {string} participant '' when nobody speaks */
  setSpeaker(participant) {
    this.speaker = participant;
    if (this.selected) this.#render();
    for (const [key, tile] of this.tiles) tile.speaking(key === `${participant}/camera`);
  }

  /** @param {Set<string>} participants whose media cannot be decrypted */
  setUndecryptable(participants) {
    this.undecryptable = participants;
    this.#render();
  }

  /** @param {import('./reporter.js').Marks} marks */
  setMarks(marks) {
    this.marks = marks;
    this.#render();
  }

  /** Keeps every last picture: a leg is about to close. */
  hold() {
    for (const tile of this.tiles.values()) tile.hold();
  }

  /** Plays every picture, after a tap or a move. */
  resume() {
    for (const tile of this.tiles.values()) tile.resume();
  }

  dispose() {
    this.observer.disconnect();
    this.view.dispose();
    for (const tile of this.tiles.values()) tile.dispose();
  }

  #render() {
    /** @type {Set<string>} */
    const wanted = new Set();
    /** @type {Tile[]} */
    const cameras = [];
    /** @type {Tile[]} */
    const large = [];
    const shown = this.selected ? onStage(this.members, (participant) => this.#claim(participant)) : new Set(this.members);
    for (const member of this.members) {
      if (shown.has(member)) (member.participant === this.pinned ? large : cameras).push(this.#tile(member, 'camera', wanted));
      if (this.#sharesScreen(member.participant)) large.push(this.#tile(member, 'screen', wanted));
    }
    for (const [key, tile] of this.tiles) {
      if (wanted.has(key)) continue;
      tile.dispose();
      this.tiles.delete(key);
    }
    arrange(this.large, large.map(({ element }) => element));
    arrange(this.grid, cameras.map(({ element }) => element));
    this.element.classList.toggle('with-large', large.length > 0);
    this.element.classList.toggle('choice', wanted.size > 1 || this.pinned !== '');
    this.empty.hidden = wanted.size > 0;
    this.#fit();
  }

  /** @param {string} participant to be kept large, or no longer */
  #pin(participant) {
    this.pinned = this.pinned === participant ? '' : participant;
    this.#render();
    this.resume();
    this.tiles.get(`${participant}/camera`)?.pin.focus(); // which moving it took away
  }

  /**
   * How much somebody belongs on a stage that is too small for all.
   *
   * @param {string} participant
   */
  #claim(participant) {
    if (participant === this.pinned) return 5;
    if (participant === this.speaker) return 4;
    if (this.tracks.has(`${participant}/camera`)) return 3;
    const peer = this.peers.get(participant);
    return peer?.video ? 2 : Number(peer?.audio === true);
  }

  /** @param {string} participant */
  #sharesScreen(participant) {
    return this.peers.get(participant)?.screen === true
      && (this.tracks.has(`${participant}/screen`) || this.tiles.has(`${participant}/screen`));
  }

  /**
   * @param {Member} member
   * @param {'camera' | 'screen'} source
   * @param {Set<string>} wanted
   */
  #tile(member, source, wanted) {
    const key = `${member.participant}/${source}`;
    wanted.add(key);
    const tile = this.tiles.get(key) ?? new Tile(member, source, () => this.#fit(), () => this.#pin(member.participant), this.blocked);
    this.tiles.set(key, tile);
    const peer = this.peers.get(member.participant);
    const closed = this.undecryptable.has(member.participant);
    const unsent = this.selected && !this.tracks.has(key);
    tile.describe(member);
    tile.pinned(this.pinned === member.participant);
    tile.show(this.tracks.get(key) ?? null);
    tile.update({
      muted: peer !== undefined && !peer.audio,
      pictureOff: closed || unsent || source === 'camera' && peer?.video !== true,
      note: noteFor(member, peer, closed, this.paused.has(key)),
    });
    tile.speaking(source === 'camera' && this.speaker === member.participant);
    tile.quality(member.connected ? this.marks.get(member.participant) ?? 'unknown' : 'lost');
    return tile;
  }

  #fit() {
    const { clientWidth, clientHeight } = this.grid;
    if (!this.element.classList.contains('with-large')) {
      const aspect = typicalAspect([...this.tiles.values()].map((tile) => tile.aspect));
      const { columns, rows } = grid(this.grid.childElementCount, clientWidth, clientHeight, aspect);
      this.grid.style.setProperty('--columns', String(columns));
      this.grid.style.setProperty('--rows', String(rows));
    }
    for (const tile of this.tiles.values()) tile.fit();
    this.view.later();
  }

  #measure() {
    return [...this.tiles].map(([key, { source, element }]) => {
      const participant = key.slice(0, -source.length - 1);
      const pinned = source === 'screen' || participant === this.pinned;
      return { participant, source, pinned, rect: element.getBoundingClientRect() };
    });
  }
}

/**
 * @param {Member} member
 * @param {Peer | undefined} peer
 * @param {boolean} closed whether their media cannot be decrypted
 * @param {boolean} paused
 */
function noteFor(member, peer, closed, paused) {
  if (!member.connected) return texts.call.reconnecting;
  if (peer === undefined) return texts.call.connecting;
  if (closed) return texts.e2ee.undecryptable;
  if (paused) return texts.call.paused;
  return peer.video ? '' : texts.call.cameraOffMark;
}
