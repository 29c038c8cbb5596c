import { list } from './devices.js';
import { h } from './dom.js';
import { texts } from './texts.js';

/**
 * The two labelled selects for camera and microphone, used in the device check and during the call.
 */
export class Pickers {
  /** @param {import('./media.js').LocalMedia} media */
  constructor(media) {
    this.media = media;
    this.camera = this.#select('camera');
    this.microphone = this.#select('microphone');
    this.element = h('div', { class: 'pickers' },
      h('label', { class: 'field' }, h('span', {}, texts.lobby.camera), this.camera),
      h('label', { class: 'field' }, h('span', {}, texts.lobby.microphone), this.microphone),
    );
    this.off = [media.on('devices', () => void this.refresh()), media.on('track', () => void this.refresh())];
    void this.refresh();
  }

  dispose() {
    for (const off of this.off) off();
  }

  async refresh() {
    const devices = await list();
    this.#fill(this.camera, devices.camera, 'camera', texts.lobby.noCamera, texts.lobby.unnamedCamera);
    this.#fill(this.microphone, devices.microphone, 'microphone', texts.lobby.noMicrophone, texts.lobby.unnamedMicrophone);
  }

  /** @param {'camera' | 'microphone'} source */
  #select(source) {
    return h('select', {
      'data-testid': `device-${source}`,
      onchange: (/** @type {Event} */ event) => {
        const select = /** @type {HTMLSelectElement} */ (event.currentTarget);
        void this.media.choose(source, select.value);
      },
    });
  }

  /**
   * @param {HTMLSelectElement} select
   * @param {MediaDeviceInfo[]} devices
   * @param {'camera' | 'microphone'} source
   * @param {string} none
   * @param {(n: number) => string} unnamed
   */
  #fill(select, devices, source, none, unnamed) {
    const usable = devices.filter(({ deviceId }) => deviceId !== '');
    const options = usable.map((device, index) =>
      h('option', { value: device.deviceId }, device.label || unnamed(index + 1)));
    if (options.length === 0) options.push(h('option', { value: '' }, devices.length === 0 ? none : texts.lobby.notAllowed));
    select.replaceChildren(...options);
    select.disabled = usable.length === 0;
    const used = this.media.tracks[source]?.getSettings().deviceId ?? this.media.chosen[source];
    if (usable.some((device) => device.deviceId === used)) select.value = used;
  }
}
