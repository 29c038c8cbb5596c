import { announce } from './announce.js';
import { canShareScreen } from './devices.js';
import { settings } from './dialogs.js';
import { h } from './dom.js';
import { icon } from './icons.js';
import { shortcutsOn } from './shortcuts.js';
import { texts } from './texts.js';

/**
 * The bar under the stage. M mutes and V turns the camera off, unless something is being typed, a dialog is open or somebody
 * does not want that.
 *
 * @typedef {{ leave: () => void, togglePeople: () => void }} Actions
 */
export class Controls {
  /**
   * @param {import('./media.js').LocalMedia} media
   * @param {import('./protocol.js').Source[]} allowed what this role may send
   * @param {Actions} actions
   */
  constructor(media, allowed, actions) {
    this.media = media;
    this.allowed = allowed;
    const t = texts.controls;
    this.mute = control('mute-button', 'mic', t.mute, t.micLabel, () => void this.toggleMute());
    this.camera = control('camera-button', 'camera', t.camera, t.cameraLabel, () => void this.toggleCamera());
    this.screen = control('screen-button', 'screen', t.share, t.shareLabel, () => void this.#toggleScreen());
    this.people = control('people-button', 'people', t.people, t.peopleLabel, actions.togglePeople);
    this.people.setAttribute('aria-controls', 'people-panel');
    const devices = control('devices-button', 'settings', t.devices, t.devicesLabel, () => void settings(media).then(() => this.#nameKeys()));
    const leave = control('leave-button', 'leave', t.leave, t.leaveLabel, actions.leave);
    leave.classList.add('leave');
    const publishes = allowed.length > 0;
    this.element = h('div', { class: 'controls', role: 'group', 'aria-label': t.label },
      allowed.includes('microphone') ? this.mute : null,
      allowed.includes('camera') ? this.camera : null,
      allowed.includes('screen') && canShareScreen() ? this.screen : null,
      publishes ? devices : null,
      this.people,
      leave,
    );
    const onKey = (/** @type {KeyboardEvent} */ event) => this.#key(event);
    document.addEventListener('keydown', onKey);
    const off = [media.on('state', () => this.#refresh()), media.on('track', ({ source, track }) => {
      this.#refresh();
      // Also when the browser's own bar ended it.
      if (source === 'screen') announce(track === null ? texts.controls.sharingStopped : texts.controls.sharing);
    })];
    this.dispose = () => {
      document.removeEventListener('keydown', onKey);
      for (const remove of off) remove();
    };
    this.#nameKeys();
    this.#refresh();
  }

  async toggleMute() {
    const { media } = this;
    await media.setMuted(media.sending().audio);
    announce(media.sending().audio ? texts.controls.unmuted : texts.controls.muted);
  }

  async toggleCamera() {
    const { media } = this;
    await media.toggleCamera();
    announce(media.sending().video ? texts.controls.cameraOn : texts.controls.cameraOff);
  }

  /** @param {boolean} open */
  setPeopleOpen(open) {
    this.people.setAttribute('aria-expanded', String(open));
  }

  /** @param {number} count people, shown on the button */
  setPeopleCount(count) {
    this.people.dataset.count = String(count);
  }

  async #toggleScreen() {
    const { media } = this;
    if (media.sending().screen) media.stopScreen();
    else await media.shareScreen();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (!shortcutsOn() || document.querySelector('dialog[open]') !== null || typing(event.target)) return;
    const key = event.key.toLowerCase();
    if (key === 'm' && this.allowed.includes('microphone')) void this.toggleMute();
    else if (key === 'v' && this.allowed.includes('camera')) void this.toggleCamera();
    else return;
    event.preventDefault();
  }

  /** Names the keys of the buttons that have one. */
  #nameKeys() {
    const t = texts.controls;
    for (const [button, label, key] of /** @type {const} */ ([[this.mute, t.micLabel, 'M'], [this.camera, t.cameraLabel, 'V']])) {
      const name = shortcutsOn() ? t.withKey(label, key) : label;
      button.setAttribute('aria-label', name);
      button.title = name;
      if (shortcutsOn()) button.setAttribute('aria-keyshortcuts', key);
      else button.removeAttribute('aria-keyshortcuts');
    }
  }

  #refresh() {
    const { audio, video, screen } = this.media.sending();
    press(this.mute, !audio, audio ? 'mic' : 'mic-off');
    press(this.camera, !video, video ? 'camera' : 'camera-off');
    press(this.screen, screen, 'screen');
  }
}

/**
 * @param {string} testid
 * @param {string} symbol
 * @param {string} text
 * @param {string} label
 * @param {() => void} act
 */
function control(testid, symbol, text, label, act) {
  return h('button', { type: 'button', class: 'control', 'data-testid': testid, 'aria-label': label, title: label, onclick: act },
    icon(symbol), h('span', { class: 'control-text' }, text));
}

/**
 * @param {HTMLButtonElement} button
 * @param {boolean} pressed
 * @param {string} symbol
 */
function press(button, pressed, symbol) {
  button.setAttribute('aria-pressed', String(pressed));
  if (button.dataset.icon !== symbol) button.firstElementChild?.replaceWith(icon(symbol));
  button.dataset.icon = symbol;
}

/** @param {EventTarget | null} target */
function typing(target) {
  return target instanceof HTMLElement && target.matches('input, select, textarea, [contenteditable]');
}
