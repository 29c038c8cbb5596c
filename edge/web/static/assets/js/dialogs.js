import { announcer } from './announce.js';
import { h } from './dom.js';
import { Pickers } from './pickers.js';
import { shortcutsOn, switchShortcuts } from './shortcuts.js';
import { texts } from './texts.js';

/** Dialogs so far: two can be open at once, and each is named by its own title. */
let count = 0;

/**
 * Modal dialogs on the native element: it traps the focus, closes with Escape and gives the focus back.
 *
 * @param {{ title: string, text?: string, body?: Node, testid?: string, yesTestid?: string, yes: string, no?: string, danger?: boolean }} options
 * @returns {{ answer: Promise<boolean>, close: () => void }} answer: whether the person agreed
 */
export function ask(options) {
  const titleId = `dialog-title-${count += 1}`;
  const dialog = h('dialog', { class: 'dialog', 'aria-labelledby': titleId, 'data-testid': options.testid },
    h('h2', { id: titleId }, options.title),
    options.text === undefined ? null : h('p', {}, options.text),
    options.body,
    h('div', { class: 'dialog-buttons' },
      options.no === undefined ? null : h('button', { type: 'button', class: 'button', onclick: () => dialog.close('no') }, options.no),
      h('button', {
        type: 'button', class: options.danger ? 'button danger' : 'button primary', 'data-testid': options.yesTestid,
        onclick: () => dialog.close('yes'),
      }, options.yes)),
    announcer(),
  );
  /** @type {Promise<boolean>} */
  const answer = new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
  });
  document.body.append(dialog);
  dialog.showModal();
  return { answer, close: () => dialog.close('no') };
}

/**
 * Camera and microphone selection during the call, and whether single keys act on them.
 *
 * @param {import('./media.js').LocalMedia} media
 */
export async function settings(media) {
  const pickers = new Pickers(media);
  const keys = h('input', { type: 'checkbox', checked: shortcutsOn(), onchange: () => switchShortcuts(keys.checked) });
  const body = h('div', { class: 'pickers' }, pickers.element, h('label', { class: 'choice-line' }, keys, h('span', {}, texts.dialogs.shortcuts)));
  await ask({ title: texts.dialogs.settingsTitle, body, yes: texts.dialogs.done }).answer;
  pickers.dispose();
}

/** @returns {Promise<boolean>} */
export function confirmEnd() {
  const { endTitle, endText, endYes, cancel } = texts.dialogs;
  return ask({ title: endTitle, text: endText, yes: endYes, no: cancel, danger: true, yesTestid: 'end-confirm' }).answer;
}

/**
 * @param {string} who
 * @returns {Promise<boolean>}
 */
export function confirmRemove(who) {
  const { removeTitle, removeText, removeYes, cancel } = texts.dialogs;
  return ask({ title: removeTitle(who), text: removeText, yes: removeYes, no: cancel, danger: true, yesTestid: 'remove-confirm' }).answer;
}

/**
 * @param {string} who
 * @param {import('./protocol.js').Source} source
 */
export function muteRequest(who, source) {
  const t = texts.dialogs;
  const wording = {
    microphone: { title: t.muteRequestTitle(who), text: t.muteRequestText, yes: t.muteYes },
    camera: { title: t.muteCameraTitle(who), text: t.muteCameraText, yes: t.cameraYes },
    screen: { title: t.muteScreenTitle(who), text: t.muteScreenText, yes: t.screenYes },
  }[source];
  return ask({ ...wording, no: t.muteNo, testid: 'mute-request' });
}
