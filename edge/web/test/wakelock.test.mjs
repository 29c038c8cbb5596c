import assert from 'node:assert/strict';
import { test } from 'node:test';
import { stayAwake } from '../static/assets/js/wakelock.js';

let locks = [];
const held = () => locks.filter(({ released }) => !released).length;

const page = Object.assign(new EventTarget(), { visibilityState: 'visible', body: { dataset: { state: 'call' } } });
globalThis.document = page;
Object.defineProperty(globalThis, 'navigator', { configurable: true, value: { wakeLock: {
  async request() {
    if (page.visibilityState !== 'visible') throw new Error('NotAllowedError');
    const lock = { released: false, async release() { lock.released = true; } };
    locks.push(lock);
    return lock;
  },
} } });

const settle = () => new Promise((resolve) => { setImmediate(resolve); });

/** The page is hidden, which takes its lock away, or comes back. */
async function turn(state) {
  page.visibilityState = state;
  if (state === 'hidden') locks.forEach((lock) => { lock.released = true; });
  page.dispatchEvent(new Event('visibilitychange'));
  await settle();
}

test('the screen stays on as long as it is wanted, again after the page was hidden, and no longer', async () => {
  await stayAwake(true);
  assert.equal(held(), 1);
  await stayAwake(true);
  assert.equal(held(), 1, 'one lock is enough');
  await turn('hidden');
  assert.equal(held(), 0);
  await turn('visible');
  assert.equal(held(), 1);
  await stayAwake(false);
  assert.equal(held(), 0);
  await turn('hidden');
  await turn('visible');
  assert.equal(held(), 0);
});

test('a lock that comes after the end is given back', async () => {
  await Promise.all([stayAwake(true), stayAwake(false)]);
  assert.equal(held(), 0);
});

test('a visit that begins on a hidden page keeps the screen on once it is seen', async () => {
  await turn('hidden');
  await stayAwake(true);
  assert.equal(held(), 0);
  await turn('visible');
  assert.equal(held(), 1);
});
