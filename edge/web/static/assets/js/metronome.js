/**
 * What has to happen regularly also on a page that is hidden, as a waiting room behind the mail: browsers let timers of such a page
 * come once a minute, unless it uses a camera or a microphone, but not those of a worker.
 */

/** When a beat of the page is so late the worker's next one takes its place. */
const LATE_MS = 500;

/** Loaded with the page: the server that it comes from may be gone later. Without it the page's own timers have to do. */
const worker = load();

function load() {
  try {
    return new Worker(new URL('./metronome-worker.js', import.meta.url));
  } catch {
    return null;
  }
}

/**
 * @param {number} ms
 * @param {() => void} act on a hidden page a second later at most
 * @returns {() => void} ends it
 */
export function every(ms, act) {
  let last = Date.now();
  const beat = () => {
    last = Date.now();
    act();
  };
  const missed = () => Date.now() - last >= ms + LATE_MS && beat();
  const timer = setInterval(beat, ms);
  worker?.addEventListener('message', missed);
  return () => {
    clearInterval(timer);
    worker?.removeEventListener('message', missed);
  };
}
