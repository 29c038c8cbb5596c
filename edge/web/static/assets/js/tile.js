import { arrange, h, play, setText, streamOf, videoElement } from './dom.js';
import { bars, icon } from './icons.js';
import { showWhole } from './layout.js';
import { personLabel, roleLabel, texts } from './texts.js';

/**
 * One picture on the stage. When its track is replaced the old picture stays until the new track has
 * shown its first frame, so that a move or a failover is at most a still moment, never a black one.
 *
 * @typedef {import('./protocol.js').Member} Member
 */
export class Tile {
  /**
   * @param {Member} member
   * @param {'camera' | 'screen'} source
   * @param {() => void} resized told when the picture's shape changes
   * @param {() => void} pin asked for by whoever looks at it: to keep it large, or no longer
   * @param {() => void} blocked called when the browser wants a tap before it plays the picture
   */
  constructor(member, source, resized, pin, blocked) {
    this.source = source;
    this.resized = resized;
    this.blocked = blocked;
    /** @type {MediaStreamTrack | null} */
    this.track = null;
    /** @type {HTMLVideoElement | null} */
    this.video = null;
    this.picture = h('div', { class: 'picture' });
    this.canvas = h('canvas', { class: 'held', hidden: true, 'aria-hidden': 'true' });
    this.initials = h('span', { class: 'initials', 'aria-hidden': 'true' });
    this.note = h('span', { class: 'note' });
    this.avatar = h('div', { class: 'avatar' }, this.initials, this.note);
    this.name = h('span', { class: 'name' });
    this.role = h('span', { class: 'role' });
    this.mutedMark = h('span', { class: 'mark', role: 'img', 'aria-label': texts.call.mutedMark, hidden: true }, icon('mic-off'));
    this.qualityMark = h('span', { class: 'mark quality', role: 'img', 'data-level': 'unknown' }, bars());
    this.pin = h('button', { type: 'button', class: 'pin', 'data-testid': 'pin-button', 'aria-pressed': 'false', onclick: pin }, icon('pin'));
    this.element = h('div', { class: `tile ${source}`, role: 'group', 'data-testid': 'tile', 'data-participant': member.participant, 'data-source': source },
      this.picture, this.canvas, this.avatar,
      h('div', { class: 'plate' }, this.mutedMark, this.name, this.role, source === 'camera' ? this.qualityMark : null),
      source === 'camera' ? this.pin : null,
    );
    this.describe(member);
    this.quality('unknown');
  }

  /** @param {Member} member */
  describe(member) {
    const label = personLabel(member);
    const title = this.source === 'screen' ? texts.call.screenOf(label) : label;
    setText(this.name, title);
    setText(this.role, this.source === 'camera' && member.name ? roleLabel(member.role) : '');
    setText(this.initials, initialsOf(label));
    this.element.setAttribute('aria-label', title);
    this.pin.setAttribute('aria-label', texts.call.pin(label));
    this.pin.title = texts.call.pin(label);
    this.element.classList.toggle('away', !member.connected);
  }

  /**
   * @param {{ muted: boolean, pictureOff: boolean, note: string }} state
   */
  update(state) {
    const muted = state.muted && this.source === 'camera';
    this.mutedMark.hidden = !muted;
    this.element.dataset.muted = String(muted);
    setText(this.note, state.note);
    this.element.classList.toggle('picture-off', state.pictureOff);
    if (state.pictureOff) this.#release();
  }

  /** Goes on after a tap, or after the element was put elsewhere, which stops a video. */
  resume() {
    if (this.video !== null) play(this.video, this.blocked);
  }

  /** @param {boolean} pinned */
  pinned(pinned) {
    this.pin.setAttribute('aria-pressed', String(pinned));
  }

  /** @param {boolean} speaking */
  speaking(speaking) {
    this.element.classList.toggle('speaking', speaking);
  }

  /** @param {import('./quality.js').Level} level */
  quality(level) {
    this.qualityMark.dataset.level = level;
    this.qualityMark.setAttribute('aria-label', texts.quality.label(texts.quality[level]));
  }

  /** @param {MediaStreamTrack | null} track null keeps the last picture */
  show(track) {
    if (track === this.track) return;
    this.hold();
    this.track = track;
    const old = this.video;
    this.video = null;
    if (track === null) return arrange(this.picture, []);
    if (old?.classList.contains('pending')) old.remove(); // nobody saw it, as on a hidden page
    const video = videoElement();
    video.classList.add('pending');
    video.addEventListener('resize', () => this.resized());
    onFirstFrame(video, () => {
      if (this.video !== video) return;
      video.classList.remove('pending');
      this.element.classList.add('has-picture');
      this.#release();
      arrange(this.picture, [video]);
      this.fit();
    });
    video.srcObject = streamOf(track);
    this.video = video;
    this.picture.append(video);
    play(video, this.blocked);
  }

  /** Keeps the last frame visible while there is nothing newer. */
  hold() {
    const { video, canvas } = this;
    if (video === null || video.videoWidth === 0 || video.classList.contains('pending')) return;
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.classList.toggle('whole', video.classList.contains('whole'));
    canvas.getContext('2d')?.drawImage(video, 0, 0);
    canvas.hidden = false;
  }

  /** Width / height of the picture; NaN while there is none. */
  get aspect() {
    return this.video === null ? NaN : this.video.videoWidth / this.video.videoHeight;
  }

  /** Chooses between filling the tile and showing the whole picture. */
  fit() {
    const { video } = this;
    if (video === null) return;
    const whole = this.source === 'screen'
      || showWhole(this.aspect, this.element.clientWidth / this.element.clientHeight);
    video.classList.toggle('whole', whole);
  }

  dispose() {
    this.track = null;
    if (this.video !== null) this.video.srcObject = null;
    this.element.remove();
  }

  #release() {
    this.canvas.hidden = true;
    this.canvas.width = this.canvas.height = 0;
  }
}

/**
 * @param {HTMLVideoElement} video
 * @param {() => void} seen
 */
function onFirstFrame(video, seen) {
  if ('requestVideoFrameCallback' in video) video.requestVideoFrameCallback(seen);
  else /** @type {HTMLVideoElement} */ (video).addEventListener('loadeddata', seen, { once: true });
}

/**
 * @param {string} label
 * @returns {string} at most two letters, titles left out
 */
export function initialsOf(label) {
  const words = label.split(/\s+/).filter((word) => word !== '' && !word.endsWith('.'));
  const first = words[0] ?? '';
  const last = words.length > 1 ? words.at(-1) ?? '' : '';
  return ([...first][0] ?? '').toUpperCase() + ([...last][0] ?? '').toUpperCase();
}
