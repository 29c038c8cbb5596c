/** Every text a person reads, in one place, so that it can be translated. */

/** @type {Record<string, string>} */
const ROLES = {
  provider: 'Provider',
  patient: 'Patient',
  interpreter: 'Interpreter',
  family: 'Family',
  supervisor: 'Supervisor',
  scribe: 'Scribe',
};

/** @type {Record<string, { title: string, text: string, again: '' | 'rejoin' | 'retry' }>} */
const ENDINGS = {
  left: { title: 'You left the visit', text: 'You can come back while the visit is still open.', again: 'rejoin' },
  ended: { title: 'The visit has ended', text: 'You can close this page now.', again: '' },
  removed: {
    title: 'You were removed from the visit',
    text: 'If you think this was a mistake, please contact your clinic.',
    again: '',
  },
  replaced: {
    title: 'You joined from another place',
    text: 'This visit is now open in another window or on another device. You can continue here instead.',
    again: 'rejoin',
  },
  'no-link': {
    title: 'This link is not complete',
    text: 'Please open the link from your invitation again, or ask your clinic to send you a new one.',
    again: '',
  },
  'token-expired': {
    title: 'This link has expired',
    text: 'Please ask your clinic for a new link. Links work for a limited time to keep visits private.',
    again: '',
  },
  'token-not-yet-valid': {
    title: 'This link does not work yet',
    text: 'Your visit has not opened. Please try again closer to your appointment.',
    again: 'retry',
  },
  'encounter-ended': { title: 'This visit has ended', text: 'If you need another visit, please contact your clinic.', again: '' },
  'encounter-locked': {
    title: 'This visit is locked',
    text: 'Nobody new can join at the moment. Please contact your clinic, or try again in a few minutes.',
    again: 'retry',
  },
  'encounter-full': {
    title: 'This visit is full',
    text: 'The largest number of people has been reached. Please contact your clinic, or try again later.',
    again: 'retry',
  },
  'participant-removed': {
    title: 'You were removed from this visit',
    text: 'This link no longer works. If you think this was a mistake, please contact your clinic.',
    again: '',
  },
  'no-webrtc': {
    title: 'This browser cannot join',
    text: 'It cannot make video calls, or that is switched off. Please open your link in an up-to-date Chrome, Edge, Firefox or Safari.',
    again: '',
  },
  'no-e2ee': {
    title: 'This browser cannot join',
    text: 'The visit is end-to-end encrypted, and this browser cannot do that. Please use an up-to-date Chrome, Edge, Firefox or Safari.',
    again: '',
  },
  'e2ee-failed': {
    title: 'Encryption did not start',
    text: 'The visit is end-to-end encrypted, and that could not be started. Please try again. If it still does not work, open your link again.',
    again: 'retry',
  },
  'e2ee-lost': {
    title: 'This visit is no longer encrypted',
    text: 'The server stopped the end-to-end encryption of this visit, so you were disconnected. Please contact your clinic.',
    again: '',
  },
  'encounter-not-encrypted': {
    title: 'This visit is not encrypted',
    text: 'Your link is for an end-to-end encrypted visit, and the server has none, so you were not connected. Please contact your clinic.',
    again: '',
  },
  'region-not-allowed': {
    title: 'This visit cannot be opened here',
    text: 'Your clinic does not allow this visit on this server. Please contact your clinic.',
    again: '',
  },
};

const BAD_LINK = {
  title: 'This link does not work',
  text: 'Please open the link from your invitation again, or ask your clinic to send you a new one.',
  again: /** @type {''} */ (''),
};

const REFUSED = {
  title: 'You could not join the visit',
  text: 'Please try again. If it still does not work, contact your clinic.',
  again: /** @type {'retry'} */ ('retry'),
};

/** @param {string} code of `bye` or `error` */
export function ending(code) {
  return ENDINGS[code] ?? (code.startsWith('token-') ? BAD_LINK : REFUSED);
}

/** @param {string} role */
export function roleLabel(role) {
  return ROLES[role] ?? 'Participant';
}

/** @param {{ name?: string, role: string }} person */
export function personLabel(person) {
  return person.name ? person.name : roleLabel(person.role);
}

/** @param {{ name?: string, role: string }} person */
export function personAndRole(person) {
  return person.name ? `${person.name} (${roleLabel(person.role)})` : roleLabel(person.role);
}

/** So many people are named in one sentence. */
const NAMED = 3;

/** @param {string[]} who */
export function listed(who) {
  const named = who.slice(0, who.length > NAMED + 1 ? NAMED : who.length);
  const last = named.length < who.length ? `${who.length - named.length} others` : named.pop();
  return named.length === 0 ? last ?? '' : `${named.join(', ')} and ${last}`;
}

/** @type {Record<'microphone' | 'camera' | 'screen', string>} */
export const sources = { microphone: 'microphone', camera: 'camera', screen: 'screen' };

/** @type {Record<import('./devices.js').Problem, (device: string) => string>} */
export const problems = {
  denied: (device) =>
    `The browser is not allowed to use your ${device}. Allow it with the icon in the address bar or in your device's settings, then try again.`,
  none: (device) => `No ${device} was found. Connect one, then try again.`,
  busy: (device) => `Your ${device} is in use by another app. Close that app, then try again.`,
  insecure: () => 'Camera and microphone only work over a secure connection (https).',
  unsupported: () =>
    'Camera and microphone do not work in this app or browser. Open the link from your invitation in another browser, such as Chrome or Safari.',
  failed: (device) => `Your ${device} could not be started. Check its connection, then try again.`,
};

export const texts = {
  device: {
    both: 'camera or microphone', camera: 'camera', microphone: 'microphone',
    notShared: "Your screen could not be shared. Allow this browser to record the screen in your device's settings, then try again.",
  },
  lobby: {
    heading: 'Check your camera and microphone',
    headingListen: 'Join the visit',
    joiningAs: (/** @type {string} */ who) => `You join as ${who}.`,
    listenOnly: 'You will see and hear the others. Your camera and microphone stay off.',
    asking: 'Please allow your camera and microphone when the browser asks.',
    preview: 'Your camera picture',
    cameraOff: 'Your camera is off',
    camera: 'Camera',
    microphone: 'Microphone',
    noCamera: 'No camera',
    noMicrophone: 'No microphone',
    notAllowed: 'Not allowed yet',
    unnamedCamera: (/** @type {number} */ n) => `Camera ${n}`,
    unnamedMicrophone: (/** @type {number} */ n) => `Microphone ${n}`,
    level: 'Microphone level',
    levelHint: 'Say something: the bar should move.',
    join: 'Join visit',
    joinWithout: 'Join without camera and microphone',
    joining: 'Joining…',
    unreachable: 'The server cannot be reached. Trying again…',
    tryAgain: 'Try again',
  },
  waiting: {
    heading: 'You are in the waiting room',
    text: 'Your care team knows you are here and will let you in soon. Please keep this page open.',
    preview: 'Your camera picture',
  },
  call: {
    heading: 'Video visit',
    admitted: 'You are in the visit.',
    alone: 'Nobody else is here yet.',
    aloneHint: 'You will see the others here as soon as they join.',
    connecting: 'Connecting…',
    reconnecting: 'Reconnecting…',
    you: 'You',
    selfView: 'Your own picture',
    screenOf: (/** @type {string} */ who) => `${who}'s screen`,
    pin: (/** @type {string} */ who) => `Keep ${who} large`,
    mutedMark: 'Microphone off',
    cameraOffMark: 'Camera off',
    paused: 'Video paused: slow connection',
    here: (/** @type {string[]} */ who) => `${listed(who)} ${who.length > 1 ? 'are' : 'is'} here.`,
    joined: (/** @type {string[]} */ who) => `${listed(who)} joined.`,
    leftCall: (/** @type {string[]} */ who) => `${listed(who)} left.`,
    waits: (/** @type {string[]} */ who) => `${listed(who)} ${who.length > 1 ? 'are' : 'is'} waiting to be admitted.`,
    shares: (/** @type {string} */ who) => `${who} is sharing a screen.`,
    speaking: (/** @type {string} */ who) => `${who} is speaking`,
    locked: 'The visit is locked. Nobody new can join.',
    unlocked: 'The visit is open again.',
    stage: 'Participants',
    hear: 'Turn on sound',
    watch: 'Turn on picture and sound',
  },
  e2ee: {
    mark: 'Encrypted',
    markLabel: 'End-to-end encrypted: show the safety number',
    changedMark: 'Number changed',
    changedLabel: 'Number changed: compare the safety number again',
    title: 'End-to-end encrypted',
    compare: 'Only the people in this visit can see and hear it. To be sure, read this number to each other: everybody should have the same.',
    differs: 'The number is another one after somebody joined or left. If yours differs from what the others read, do not go on: somebody may be listening.',
    undecryptable: 'Cannot be decrypted',
    announced: (/** @type {string} */ who) => `Picture and sound of ${who} cannot be decrypted.`,
  },
  quality: {
    label: (/** @type {string} */ level) => `Connection: ${level}`,
    good: 'good',
    fair: 'fair',
    poor: 'poor',
    lost: 'interrupted',
    unknown: 'not measured yet',
  },
  controls: {
    label: 'Visit controls',
    mute: 'Mute',
    micLabel: 'Mute microphone',
    camera: 'Camera',
    cameraLabel: 'Camera off',
    share: 'Share',
    shareLabel: 'Share your screen',
    devices: 'Settings',
    devicesLabel: 'Settings for camera and microphone',
    people: 'People',
    peopleLabel: 'People in the visit',
    leave: 'Leave',
    leaveLabel: 'Leave the visit',
    withKey: (/** @type {string} */ label, /** @type {string} */ key) => `${label} (${key})`,
    muted: 'Your microphone is off.',
    unmuted: 'Your microphone is on.',
    cameraOn: 'Your camera is on.',
    cameraOff: 'Your camera is off.',
    sharing: 'You are sharing your screen.',
    sharingStopped: 'You stopped sharing your screen.',
  },
  people: {
    heading: 'People',
    waiting: 'Waiting',
    admit: 'Admit',
    admitLabel: (/** @type {string} */ who) => `Admit ${who}`,
    decline: 'Remove',
    removeLabel: (/** @type {string} */ who) => `Remove ${who} from the visit`,
    askMute: 'Ask to mute',
    askMuteLabel: (/** @type {string} */ who) => `Ask to mute: ${who}`,
    asked: (/** @type {string} */ who) => `${who} was asked to mute.`,
    lock: 'Lock visit',
    unlock: 'Unlock visit',
    lockHint: 'A locked visit lets nobody new in.',
    end: 'End visit for everyone',
    you: ' (you)',
    notConnected: 'Connection lost',
    close: 'Close',
  },
  dialogs: {
    muteRequestTitle: (/** @type {string} */ who) => `${who} asks you to mute`,
    muteRequestText: 'Your microphone stays on until you decide.',
    muteCameraTitle: (/** @type {string} */ who) => `${who} asks you to turn off your camera`,
    muteCameraText: 'Your camera stays on until you decide.',
    muteScreenTitle: (/** @type {string} */ who) => `${who} asks you to stop sharing`,
    muteScreenText: 'Your screen is shared until you decide.',
    muteYes: 'Mute',
    cameraYes: 'Turn off',
    screenYes: 'Stop sharing',
    muteNo: 'Not now',
    endTitle: 'End the visit for everyone?',
    endText: 'Everybody leaves the visit, and it cannot be opened again.',
    endYes: 'End visit',
    removeTitle: (/** @type {string} */ who) => `Remove ${who}?`,
    removeText: 'They leave the visit, and their link no longer works.',
    removeYes: 'Remove',
    cancel: 'Cancel',
    settingsTitle: 'Camera and microphone',
    shortcuts: 'Keys M and V switch microphone and camera',
    done: 'Done',
  },
  banner: {
    reconnecting: 'Connection lost. Reconnecting…',
    reconnected: 'You are connected again.',
    mediaLost: 'Picture and sound are interrupted. Reconnecting…',
    noServer: 'No media server is free at the moment. Please wait, we keep trying.',
    notAllowed: 'This action is not allowed.',
    failed: 'That did not work. Please try again.',
  },
  ended: { rejoin: 'Join again', retry: 'Try again' },
};
