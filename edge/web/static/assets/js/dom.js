/**
 * @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Attribute
 * @typedef {Node | string | null | undefined} Child
 */

/**
 * Builds an element. `onclick`-like keys take functions and are added as listeners, so that no markup
 * ever carries script; other keys are attributes, left out when null, undefined or false.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, Attribute>} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(key.replace(/^on/, ''), value);
    else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(key, value === true ? '' : String(value));
    }
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/**
 * Makes `parent` hold exactly `wanted`, in this order, and moves nothing that is in place already:
 * moving a playing video restarts it, moving a focused button loses the focus.
 *
 * @param {Element} parent
 * @param {Element[]} wanted
 */
export function arrange(parent, wanted) {
  for (const child of [...parent.children]) {
    if (!wanted.includes(child)) child.remove();
  }
  wanted.forEach((child, index) => {
    const at = parent.children[index];
    if (at !== child) parent.insertBefore(child, at ?? null);
  });
}

/**
 * Arranges rows with buttons. When the row with the focus goes, the focus goes on at a heading, and not at the button of another
 * row, which a second press would push.
 *
 * @param {Element} list
 * @param {Element[]} rows
 * @param {HTMLElement | null | undefined} heading that takes the focus
 */
export function arrangeRows(list, rows, heading) {
  const focused = list.contains(document.activeElement);
  arrange(list, rows);
  if (focused && !list.contains(document.activeElement)) heading?.focus();
}

/**
 * Sets text only when it changed, so that screen readers are not told twice.
 *
 * @param {Element} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * @param {MediaStreamTrack | null} track
 * @returns {MediaStream | null}
 */
export function streamOf(track) {
  return track === null ? null : new MediaStream([track]);
}

/**
 * Shows a local track in a video element; the same track again changes nothing.
 *
 * @param {HTMLVideoElement} video
 * @param {MediaStreamTrack | null} track
 */
export function show(video, track) {
  const current = video.srcObject instanceof MediaStream ? video.srcObject.getTracks()[0] ?? null : null;
  if (current === track) return;
  video.srcObject = streamOf(track);
  if (track !== null) video.play().catch(() => {});
}

/**
 * Plays, unless the browser wants a tap first, as strict ones do and phones that save power.
 *
 * @param {HTMLMediaElement} media
 * @param {() => void} blocked
 */
export function play(media, blocked) {
  media.play().catch((error) => {
    if (error?.name === 'NotAllowedError') blocked();
  });
}

/** @param {string} [testid] */
export function videoElement(testid) {
  const video = h('video', { playsinline: true, autoplay: true, 'data-testid': testid });
  // The attribute alone does not mute an element made by script.
  video.muted = true;
  return video;
}
