/**
 * What changed between two rosters, for announcements. Pure.
 *
 * @typedef {import('./protocol.js').Member} Member
 *
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
