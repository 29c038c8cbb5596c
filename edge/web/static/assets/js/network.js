/**
 * Tells when the browser has got a network, or another kind of one. Browsers that name the kind say so when it changes; all of
 * them say when there is a network again. The rest, such as another Wi-Fi of the same kind, only stopped media tells.
 *
 * @param {() => void} changed
 * @param {EventTarget} target gets `online`
 * @param {(EventTarget & { type?: string }) | null} connection gets `change`, which mostly tells of a new estimate of its speed
 */
export function watchNetwork(changed, target = window, connection = /** @type {any} */ (navigator).connection ?? null) {
  target.addEventListener('online', changed);
  let type = connection?.type;
  connection?.addEventListener('change', () => {
    const before = type;
    type = connection.type;
    if (type !== before && type !== 'none') changed();
  });
}
