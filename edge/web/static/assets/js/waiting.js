import { h, show, videoElement } from './dom.js';
import { icon } from './icons.js';
import { texts } from './texts.js';

/**
 * The waiting room: calm, with one's own picture so that people know their camera works.
 */
export class Waiting {
  /**
   * @param {import('./media.js').LocalMedia} media
   * @param {() => void} leave
   */
  constructor(media, leave) {
    const video = videoElement();
    video.setAttribute('aria-label', texts.waiting.preview);
    const preview = h('div', { class: 'preview mirrored small' }, video);
    const refresh = () => {
      show(video, media.tracks.camera);
      preview.hidden = media.tracks.camera === null;
    };
    this.dispose = media.on('track', refresh);
    refresh();
    this.element = h('section', { class: 'card waiting', 'data-testid': 'waiting', 'aria-labelledby': 'waiting-heading' },
      h('div', { class: 'pulse', 'aria-hidden': 'true' }, icon('person')),
      h('h1', { id: 'waiting-heading', tabindex: -1 }, texts.waiting.heading),
      h('p', {}, texts.waiting.text),
      preview,
      h('button', { type: 'button', class: 'button', 'data-testid': 'leave-button', onclick: leave }, texts.controls.leaveLabel),
    );
  }
}
