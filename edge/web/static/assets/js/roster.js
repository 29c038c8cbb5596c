/**
 * What rosters say beyond their words: who came and went, and who is noticeably away. Pure.
 *
 * @typedef {import('./protocol.js').Member} Member
 */

/** A lost socket is nobody's business for this long, because media goes on without it. */
export const AWAY_AFTER_MS = 5000;
/** Media that is still for this long has stopped: silence is still sent several times a second. */
export const STOPPED_AFTER_MS = 2000;

/**
 * @param {Member[]} before
 * @param {Member[]} after
 * @param {string} self
 * @returns {{ joined: Member[], left: Member[], waits: Member[] }}
 */
export function changes(before, after, self) {
  const old = new Map(before.map((member) => [member.participant, member.state]));
  const now = new Map(after.map((member) => [member.participant, member.state]));
  const others = after.filter(({ participant }) => participant !== self);
  return {
    joined: others.filter((m) => m.state === 'admitted' && old.get(m.participant) !== 'admitted'),
    waits: others.filter((m) => m.state === 'waiting' && !old.has(m.participant)),
    left: before.filter((m) => m.participant !== self && m.state === 'admitted' && now.get(m.participant) !== 'admitted'),
  };
}

/**
 * Since when each member has had no socket. Who was never seen with one has been without all along.
 *
 * @param {Map<string, number>} since as of the last roster, in milliseconds
 * @param {Member[]} before
 * @param {Member[]} after
 * @param {number} now in milliseconds
 * @returns {Map<string, number>}
 */
export function socketless(since, before, after, now) {
  const seen = new Set(before.map(({ participant }) => participant));
  return new Map(after.filter(({ connected }) => !connected).map(({ participant }) =>
    [participant, since.get(participant) ?? (seen.has(participant) ? now : -Infinity)]));
}

/**
 * The members as people should see them: away only when the socket has been gone for long, or when
 * media that was flowing stopped as well.
 *
 * @param {Member[]} members
 * @param {Map<string, number>} since of `socketless`
 * @param {(participant: string) => number | undefined} lastMedia when media of theirs last arrived;
 *   undefined when they send none
 * @param {number} now in milliseconds
 * @returns {Member[]}
 */
export function noticed(members, since, lastMedia, now) {
  return members.map((member) => {
    const gone = since.get(member.participant);
    if (gone === undefined) return member;
    const last = lastMedia(member.participant);
    const stopped = last !== undefined && now - last >= STOPPED_AFTER_MS;
    return { ...member, connected: !stopped && now - gone < AWAY_AFTER_MS };
  });
}
