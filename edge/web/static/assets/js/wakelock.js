let wanted = false;
/** The lock that was got last. Browsers take it away from a page that is hidden. @type {Promise<WakeLockSentinel | undefined>} */
let lock = Promise.resolve(undefined);

/**
 * Keeps a phone's screen on, again after the page was hidden; or no longer.
 *
 * @param {boolean} on
 */
export async function stayAwake(on) {
  wanted = on;
  document.addEventListener('visibilitychange', renew);
  await renew();
}

function renew() {
  lock = lock.then(async (held) => {
    if (!wanted) return void await held?.release().catch(() => {});
    if (held?.released === false || document.visibilityState !== 'visible') return held;
    return navigator.wakeLock?.request('screen').catch(() => undefined);
  });
  return lock;
}
