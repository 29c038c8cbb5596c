import { Banner } from './banner.js';
import { readChoice } from './ice.js';
import { watchNetwork } from './network.js';
import { SIGNAL_PATH } from './protocol.js';
import { takeToken } from './token.js';
import { Visit } from './visit.js';

/** Starts the visit page. */
function start() {
  const root = document.getElementById('app');
  const strip = document.getElementById('banner');
  if (root === null || strip === null) return;
  const token = takeToken(location, history, sessionStorage);
  const visit = new Visit({
    token,
    url: `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}${SIGNAL_PATH}`,
    choice: readChoice(location.search),
    root,
    banner: new Banner(strip),
  });
  watchNetwork(() => visit.networkChanged());
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && visit.nudge());
  window.addEventListener('pagehide', (event) => event.persisted || visit.leaveQuietly());
  // Another link opened in the same tab is another visit.
  window.addEventListener('hashchange', () => location.hash.length > 1 && location.reload());
  // For support and tests: counters and states, nothing personal.
  const hook = {
    stats: () => visit.summary(), legs: () => visit.legSummary(),
    signal: () => visit.signal?.state ?? 'idle', gateway: () => visit.signal?.address ?? '',
  };
  Object.defineProperty(window, 'wardline', { value: Object.freeze(hook) });
  visit.start();
}

start();
