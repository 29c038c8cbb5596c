import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { announce } from '../static/assets/js/announce.js';

const region = { textContent: '' };
/** What a screen reader hears: the text that is there when it looks, if it is another one and the page is seen. */
let heard = [];
let last = '';
function listen() {
  if (document.hidden || region.textContent === last) return;
  last = region.textContent;
  if (last !== '') heard.push(last);
}

beforeEach(() => {
  heard = [];
  mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.document = Object.assign(new EventTarget(), { hidden: false, querySelectorAll: () => [region] });
  /** Frames come every 16 ms, to pages that are seen. */
  globalThis.requestAnimationFrame = (draw) => setTimeout(() => (document.hidden ? requestAnimationFrame(draw) : draw()), 16);
});
afterEach(() => {
  mock.timers.tick(60_000);
  mock.timers.reset();
  delete globalThis.document;
  delete globalThis.requestAnimationFrame;
});

/** @param {boolean} hidden */
function turn(hidden) {
  document.hidden = hidden;
  document.dispatchEvent(new Event('visibilitychange'));
}

/** @param {number} ms in small steps, since timers begin timers */
function pass(ms) {
  for (let left = ms; left > 0; left -= 10) {
    mock.timers.tick(10);
    listen();
  }
}

test('sentences are spoken once, one after the other', () => {
  for (const text of ['one', 'two', 'two']) announce(text);
  pass(5000);
  assert.deepEqual(heard, ['one', 'two', 'two']);
});

test('what is said to a hidden page is heard when it is seen again', () => {
  announce('before');
  pass(1000);
  turn(true);
  for (const text of ['one', 'two', 'three']) announce(text);
  pass(5000);
  assert.deepEqual(heard, ['before']);
  turn(false);
  announce('four');
  pass(5000);
  assert.deepEqual(heard, ['before', 'one', 'two', 'three', 'four']);
});

test('a page that is hidden in the middle of a sentence goes on with the next', () => {
  for (const text of ['one', 'two']) announce(text);
  pass(300);
  turn(true);
  pass(5000);
  turn(false);
  pass(5000);
  assert.deepEqual(heard, ['one', 'two']);
});

test('a crowd does not keep what is new waiting', () => {
  for (let i = 0; i < 300; i += 1) announce(`guest ${i} joined`);
  announce('Your microphone is on.');
  pass(8000);
  assert.equal(heard.at(-1), 'Your microphone is on.');
});
