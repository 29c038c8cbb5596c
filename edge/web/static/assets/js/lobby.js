import { h, setText, show, videoElement } from './dom.js';
import { icon } from './icons.js';
import { Meter } from './meter.js';
import { Pickers } from './pickers.js';
import { personAndRole, problems, texts } from './texts.js';

/** What another try on this page does not help against. */
const HOPELESS = new Set(['insecure', 'unsupported']);

/**
 * The device check before the visit: picture, level, devices, and the button that joins.
 */
export class Lobby {
  /**
   * @param {import('./media.js').LocalMedia} media
   * @param {{ name?: string, role: string }} who
   * @param {boolean} publishes whether this role sends anything
   * @param {() => void} join
   */
  constructor(media, who, publishes, join) {
    this.media = media;
    this.publishes = publishes;
    this.join = join;
    this.button = h('button', { type: 'button', class: 'button primary wide', 'data-testid': 'join-button', onclick: () => this.#join() }, texts.lobby.join);
    this.status = h('p', { class: 'hint', role: 'status' });
    /** @type {(() => void)[]} */
    this.cleanup = [];
    this.heading = h('h1', { id: 'lobby-heading', tabindex: -1 }, publishes ? texts.lobby.heading : texts.lobby.headingListen);
    this.element = h('section', { class: 'card lobby', 'data-testid': 'lobby', 'aria-labelledby': 'lobby-heading' },
      this.heading,
      h('p', { class: 'hint' }, texts.lobby.joiningAs(personAndRole(who))),
      publishes ? this.#deviceCheck() : h('p', {}, texts.lobby.listenOnly),
      this.button,
      this.status,
    );
  }

  /** Opens the devices; the page is usable before and without them. */
  async start() {
    if (!this.publishes) return;
    setText(this.status, texts.lobby.asking);
    await this.media.start();
    setText(this.status, '');
    this.#refresh();
  }

  dispose() {
    for (const clean of this.cleanup) clean();
  }

  /** @param {string} text */
  say(text) {
    setText(this.status, text);
  }

  #join() {
    this.button.disabled = true;
    setText(this.button, texts.lobby.joining);
    this.join();
  }

  #deviceCheck() {
    this.video = videoElement();
    this.video.setAttribute('aria-label', texts.lobby.preview);
    this.placeholder = h('div', { class: 'placeholder' }, icon('camera-off'), h('span', {}, texts.lobby.cameraOff));
    this.problem = h('div', { class: 'problem', role: 'alert', hidden: true });
    const bar = h('div', { class: 'meter', role: 'meter', 'aria-label': texts.lobby.level, 'aria-valuemin': 0, 'aria-valuemax': 100, 'aria-valuenow': 0 }, h('div', { class: 'meter-fill' }));
    const meter = new Meter(bar);
    const pickers = new Pickers(this.media);
    const off = [
      this.media.on('track', ({ source }) => {
        if (source === 'microphone') meter.attach(this.media.tracks.microphone);
        this.#refresh();
      }),
      this.media.on('problem', ({ source, code }) => source !== 'screen' && this.#showProblem(problems[code](texts.device[source]), !HOPELESS.has(code))),
    ];
    this.cleanup.push(() => meter.stop(), () => pickers.dispose(), ...off);
    return h('div', { class: 'check' },
      h('div', { class: 'preview mirrored' }, this.video, this.placeholder),
      h('div', { class: 'check-side' }, this.problem, pickers.element,
        h('div', { class: 'field' }, h('span', {}, texts.lobby.level), bar, h('span', { class: 'hint' }, texts.lobby.levelHint))),
    );
  }

  #refresh() {
    if (this.video === undefined || this.placeholder === undefined) return;
    show(this.video, this.media.tracks.camera);
    this.placeholder.hidden = this.media.tracks.camera !== null;
    const { camera, microphone } = this.media.tracks;
    if (this.problem !== undefined && camera !== null && microphone !== null) {
      if (this.problem.contains(document.activeElement)) this.heading.focus();
      this.problem.hidden = true;
    }
    if (this.button.disabled) return;
    const nothing = camera === null && microphone === null;
    setText(this.button, nothing ? texts.lobby.joinWithout : texts.lobby.join);
  }

  /**
   * @param {string} text
   * @param {boolean} again whether it may be another time
   */
  #showProblem(text, again) {
    if (this.problem === undefined) return;
    const tried = this.problem.contains(document.activeElement);
    this.problem.hidden = false;
    this.problem.replaceChildren(
      icon('alert'),
      h('div', {},
        h('p', {}, text),
        again ? h('button', { type: 'button', class: 'button', onclick: () => void this.start() }, texts.lobby.tryAgain) : null),
    );
    if (tried) (this.problem.querySelector('button') ?? this.heading).focus();
  }
}
