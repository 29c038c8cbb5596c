/** Frames that cannot be opened for this long, with none that can, are worth telling: a key may be on its way. */
const PATIENCE_MS = 1500;

/** Whose media cannot be decrypted. Pure. */
export class Health {
  constructor() {
    /** @type {Map<string, { since: number, told: boolean }>} who fails, and since when, in milliseconds */
    this.failing = new Map();
  }

  /**
   * @param {string} participant
   * @param {boolean} opened
   * @param {number} now in milliseconds
   * @returns {boolean | null} whether they can be decrypted, when that is news
   */
  frame(participant, opened, now) {
    const state = this.failing.get(participant);
    if (opened) {
      this.failing.delete(participant);
      return state?.told ? true : null;
    }
    if (state === undefined) this.failing.set(participant, { since: now, told: false });
    if (state === undefined || state.told || now - state.since < PATIENCE_MS) return null;
    state.told = true;
    return false;
  }

  /** @param {string} participant */
  forget(participant) {
    this.failing.delete(participant);
  }
}
