import { announce } from './announce.js';
import { Call } from './call.js';
import { Encryption } from './encryption.js';
import { endScreen } from './ended.js';
import { Gateways } from './gateways.js';
import { Legs } from './legs.js';
import { Lobby } from './lobby.js';
import { LocalMedia } from './media.js';
import { likelyPublishes, publishable } from './permissions.js';
import { measureRegions } from './regions.js';
import { Recovery } from './recovery.js';
import { Reporter } from './reporter.js';
import { Signal } from './signal.js';
import { problems, texts } from './texts.js';
import { forgetToken, readClaims } from './token.js';
import { Waiting } from './waiting.js';
import { stayAwake } from './wakelock.js';

/**
 * One visit from the device check to the last screen.
 *
 * @typedef {'lobby' | 'waiting' | 'call' | 'ended'} State
 * @typedef {object} VisitOptions
 * @property {string} token
 * @property {string} url of the signaling socket
 * @property {import('./ice.js').IceChoice} choice
 * @property {HTMLElement} root
 * @property {import('./banner.js').Banner} banner
 */

/** A socket that is back sooner than this is nobody's business: media never stopped. */
const NOTICE_MS = 500;
/** How long a join waits for round-trip times that are still being measured. */
const MEASURE_WAIT_MS = 1000;
/** Endings after which the link is of no more use in this tab. */
const FINAL = new Set(['ended', 'removed', 'participant-removed', 'encounter-ended', 'token-expired']);

export class Visit {
  /** @param {VisitOptions} options */
  constructor(options) {
    this.options = options;
    this.banner = options.banner;
    this.media = new LocalMedia();
    /** @type {{ element: HTMLElement, dispose?: () => void } | null} */
    this.view = null;
    /** @type {Signal | null} */
    this.signal = null;
    /** @type {Legs | null} */
    this.legs = null;
    /** @type {Encryption | null} */
    this.encryption = null;
    /** @type {Reporter | null} */
    this.reporter = null;
    /** @type {Recovery | null} */
    this.recovery = null;
    this.gateways = new Gateways(options.url);
    /** @type {import('./protocol.js').Self | null} */
    this.self = null;
    /** @type {import('./protocol.js').Roster | null} */
    this.roster = null;
    /** That of the newest roster from this gateway. */
    this.revision = 0;
    this.peersLeg = 0;
    /** @type {import('./regions.js').RoundTrips} what is known so far */
    this.roundTrips = {};
    /** @type {Promise<unknown>} */
    this.measured = Promise.resolve();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.lossTimer = undefined;
    this.media.on('problem', ({ source, code }) => {
      const text = source === 'screen' ? texts.device.notShared : problems[code](texts.device[source]);
      if (!(this.view instanceof Lobby)) this.banner.show('device', text, { forMs: 8000 });
    });
  }

  start() {
    if (this.options.token === '') return this.#end('no-link');
    if (typeof RTCPeerConnection === 'undefined') return this.#end('no-webrtc');
    const claims = readClaims(this.options.token);
    const lobby = new Lobby(this.media, claims, likelyPublishes(claims.role), () => this.#join());
    this.#show('lobby', lobby);
    void lobby.start();
    this.measured = measureRegions({
      origin: location.origin, found: (regions) => this.gateways.suggest(regions.flatMap(({ urls }) => urls)),
    }, this.roundTrips);
  }

  /** The page came back. */
  nudge() {
    this.signal?.nudge();
    this.call?.resume(); // phones stop what plays for a call of their own, and not all of them start it again
  }

  /** The network may be another one. */
  networkChanged() {
    this.recovery?.networkChanged();
  }

  /** The page goes away for good: others should not wait for somebody who closed the tab. */
  leaveQuietly() {
    this.signal?.farewell();
  }

  /** For the debug hook. */
  async summary() {
    return (await this.reporter?.summary()) ?? [];
  }

  /** For the debug hook: the open legs, oldest first. */
  legSummary() {
    return [...(this.legs?.open.values() ?? [])].map((leg) => ({ ...leg.route, ...leg.server, connected: leg.connected }));
  }

  #join() {
    const { url, token } = this.options;
    const signal = new Signal({
      url, token, gateways: this.gateways, roundTrips: this.roundTrips, leg: () => this.legs?.current?.route.leg ?? 0,
    });
    const legs = new Legs(signal, this.media, this.options.choice);
    this.signal = signal;
    this.legs = legs;
    this.encryption = new Encryption(signal, legs, readClaims(this.options.token).e2ee, { call: () => this.call, quit: (code) => this.#quit(code) });
    this.reporter = new Reporter(legs, signal);
    this.recovery = new Recovery(signal, legs);
    this.#wireSignal(signal, legs);
    this.#wireLegs(legs);
    this.reporter.on('marks', (marks) => this.call?.tiles.setMarks(marks));
    const late = new Promise((resolve) => setTimeout(resolve, MEASURE_WAIT_MS));
    void Promise.race([this.measured, late]).then(() => signal.connect());
  }

  /**
   * @param {Signal} signal
   * @param {Legs} legs
   */
  #wireSignal(signal, legs) {
    signal.on('welcome', (welcome) => this.#welcome(welcome, legs));
    signal.on('roster', (roster) => this.#roster(roster));
    signal.on('placed', (placed) => {
      this.banner.hide('server');
      legs.place(placed);
    });
    signal.on('peers', ({ leg, peers }) => {
      // While two legs are open the newer one knows best.
      if (leg < this.peersLeg) return;
      if (leg > this.peersLeg) this.call?.tiles.setPaused([]);
      this.peersLeg = leg;
      this.call?.setPeers(peers ?? []);
    });
    signal.on('paused', ({ leg, tracks }) => {
      if (leg >= this.peersLeg) this.call?.tiles.setPaused(tracks ?? []);
    });
    signal.on('speaker', ({ leg, participant }) => {
      if (leg >= this.peersLeg) this.call?.tiles.setSpeaker(participant);
    });
    signal.on('mute-request', ({ by, source }) => void this.call?.askedToMute(by ?? '', source));
    signal.on('error', (error) => this.#error(error));
    signal.on('state', (state) => this.#connection(state));
    signal.on('failed', (times) => {
      if (times > 1 && this.view instanceof Lobby) this.view.say(texts.lobby.unreachable);
    });
    signal.on('closed', (code) => this.#end(code));
  }

  /** @param {Legs} legs */
  #wireLegs(legs) {
    legs.on('tracks', (tracks) => this.call?.setTracks(tracks, legs.selected));
    legs.on('retire', () => this.call?.tiles.hold());
    legs.on('connected', () => this.banner.hide('media'));
    legs.on('failed', (leg) => {
      if (leg !== legs.current) return;
      this.banner.show('media', texts.banner.mediaLost);
      this.recovery?.failed(leg);
    });
  }

  /**
   * @param {import('./protocol.js').Welcome} welcome
   * @param {Legs} legs
   */
  #welcome(welcome, legs) {
    this.self = { ...welcome.you, permissions: welcome.you.permissions ?? [] };
    legs.iceServers = welcome.ice_servers ?? [];
    legs.allowed = publishable(welcome.you.permissions ?? []);
    const refusal = this.encryption?.welcome(welcome) ?? '';
    if (refusal !== '') return this.#quit(refusal);
    this.revision = 0; // what this gateway says is not late, if the records were set back to a snapshot
    if (welcome.resumed) legs.resume(this.recovery?.stopped);
    else {
      legs.reset();
      this.peersLeg = 0;
    }
    this.#enter(welcome.state);
  }

  /** @param {string} code why this page does not stay */
  #quit(code) {
    this.signal?.leave();
    this.#end(code);
  }

  /** @param {import('./protocol.js').Roster} roster */
  #roster(roster) {
    if (roster.revision < this.revision) return;
    this.revision = roster.revision;
    this.roster = roster;
    const own = (roster.members ?? []).find(({ participant }) => participant === this.self?.participant);
    if (own !== undefined) this.#enter(own.state);
    this.call?.setRoster(roster);
    this.encryption?.roster(roster);
  }

  /** @param {'waiting' | 'admitted'} state */
  #enter(state) {
    const { self, signal, legs, media } = this;
    if (self === null || signal === null || legs === null) return;
    const leave = () => signal.leave();
    if (state === 'waiting') {
      if (!(this.view instanceof Waiting)) this.#show('waiting', new Waiting(media, leave)); // whose heading has the focus and is read
      return;
    }
    if (this.view instanceof Call) return;
    const call = new Call({
      self, media, allowed: legs.allowed, leave, shield: this.encryption?.shield ?? null,
      act: (message) => signal.act(message),
      shown: (tiles) => legs.show(tiles),
      blocked: (text) => this.banner.show('blocked', text, { kind: 'info', button: text, act: () => this.call?.resume() }),
    });
    this.#show('call', call);
    announce(texts.call.admitted);
    if (this.roster !== null) call.setRoster(this.roster);
  }

  /** @param {import('./protocol.js').ErrorMessage} error */
  #error(error) {
    if (this.view instanceof Lobby) return;
    if (['admit', 'remove', 'mute-request', 'lock', 'end'].includes(error.about ?? '')) {
      const text = error.code === 'not-allowed' ? texts.banner.notAllowed : texts.banner.failed;
      this.banner.show('action', text, { forMs: 5000 });
    } else if (['no-media-server', 'busy', 'unavailable'].includes(error.code)) this.banner.show('server', texts.banner.noServer);
  }

  /** @param {import('./signal.js').SignalState} state */
  #connection(state) {
    clearTimeout(this.lossTimer);
    if (state === 'reconnecting') {
      this.lossTimer = setTimeout(() => this.banner.show('signal', texts.banner.reconnecting), NOTICE_MS);
    } else if (state === 'open' && this.banner.shows('signal')) {
      this.banner.show('signal', texts.banner.reconnected, { kind: 'info', forMs: 2500 });
    }
  }

  /** @param {string} code */
  #end(code) {
    clearTimeout(this.lossTimer);
    this.reporter?.stop();
    this.recovery?.stop();
    this.legs?.end();
    this.encryption?.dispose();
    this.media.stop();
    this.banner.clear();
    if (FINAL.has(code)) forgetToken(sessionStorage);
    const element = endScreen(code, () => this.#again());
    document.querySelectorAll('dialog').forEach((dialog) => dialog.close()); // which keeps the focus, and gives it back to where it was
    this.#show('ended', { element });
  }

  /** Starts over with the same link. */
  #again() {
    this.signal = this.legs = this.reporter = this.recovery = this.encryption = this.self = this.roster = null;
    this.start();
  }

  /** The call's view, while there is one. */
  get call() {
    return this.view instanceof Call ? this.view : null;
  }

  /**
   * @param {State} state
   * @param {{ element: HTMLElement, dispose?: () => void }} view
   */
  #show(state, view) {
    const first = this.view === null;
    this.view?.dispose?.();
    this.view = view;
    document.body.dataset.state = state;
    void stayAwake(state === 'waiting' || state === 'call');
    this.options.root.replaceChildren(view.element);
    // Who uses a keyboard or a screen reader continues at the new view's heading.
    const heading = view.element.querySelector('h1');
    if (state !== 'lobby' || !first) heading?.focus();
  }
}
