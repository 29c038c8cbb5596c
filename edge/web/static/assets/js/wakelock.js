/** Keeps a phone's screen on during the call, again after the page was hidden. */
export async function stayAwake() {
  const request = async () => {
    if (document.visibilityState !== 'visible' || document.body.dataset.state !== 'call') return;
    await navigator.wakeLock?.request('screen').catch(() => {});
  };
  document.removeEventListener('visibilitychange', again);
  again = () => void request();
  document.addEventListener('visibilitychange', again);
  await request();
}

let again = () => {};
