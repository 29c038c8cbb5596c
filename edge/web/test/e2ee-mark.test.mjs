import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { EncryptionMark } from '../static/assets/js/e2ee-mark.js';
import { Emitter } from '../static/assets/js/emitter.js';

/** As much of an element as the mark and its dialog use. */
class FakeElement extends EventTarget {
  children = [];
  own = '';
  classes = new Set();
  classList = { toggle: (name, on) => this.classes[on ? 'add' : 'delete'](name), contains: (name) => this.classes.has(name) };
  attributes = new Map();

  get textContent() {
    return this.own + this.children.map((child) => child.textContent ?? child).join(' ');
  }

  set textContent(text) {
    this.own = text;
  }

  setAttribute(name, value) {
    this.attributes.set(name, value);
  }

  append(...children) {
    this.children.push(...children);
  }

  replaceChildren(...children) {
    this.children = children;
  }

  remove() {}

  showModal() {}

  close() {
    this.dispatchEvent(new Event('close'));
  }
}

const body = new FakeElement();
globalThis.document = { body, createElement: () => new FakeElement(), createElementNS: () => new FakeElement(), querySelectorAll: () => [] };
after(() => { delete globalThis.document; });

const settle = () => new Promise((resolve) => { setImmediate(resolve); });

/** A shield whose numbers come when they are told to. */
function shield() {
  const asked = [];
  return Object.assign(new Emitter(), { asked, number: () => new Promise((resolve) => asked.push((number) => resolve([number]))) });
}

async function numbers(of, ...each) {
  for (const number of each) of.asked.pop()(number);
  await settle();
}

function opened() {
  const mark = new EncryptionMark();
  const first = shield();
  mark.setShield(first);
  mark.element.dispatchEvent(new Event('click'));
  const dialog = body.children.at(-1);
  return { mark, first, dialog, changed: () => mark.element.classes.has('changed') };
}

test('the number of a new session replaces that of the one before, also in an open dialog', async () => {
  const { mark, first, dialog, changed } = opened();
  await numbers(first, '11111');
  assert.match(dialog.textContent, /11111/);
  const second = shield();
  mark.setShield(second);
  second.emit('changed');
  await settle();
  while (second.asked.length > 0) await numbers(second, '22222');
  assert.match(dialog.textContent, /22222/);
  dialog.close();
  await settle();
  assert.equal(changed(), false, 'what was just looked at is no news');
  second.emit('changed');
  await numbers(second, '33333');
  assert.equal(changed(), true);
});

test('of two numbers the one asked for last counts, whichever is there first', async () => {
  const { mark, first, dialog, changed } = opened();
  first.emit('changed');
  await settle();
  await numbers(first, 'newer', 'older');
  assert.match(dialog.textContent, /newer/);
  dialog.close();
  await settle();
  first.emit('changed');
  first.emit('changed');
  await numbers(first, 'newer', 'older');
  assert.equal(changed(), false);
  mark.setShield(null);
});

test('the name of the lock has the words that are seen on it', async () => {
  const { mark, first, dialog } = opened();
  const named = () => mark.element.attributes.get('aria-label').toLowerCase().includes(mark.text.textContent.toLowerCase());
  await numbers(first, '11111');
  dialog.close();
  await settle();
  assert.ok(named());
  first.emit('changed');
  await numbers(first, '22222');
  assert.ok(named(), mark.element.attributes.get('aria-label'));
});

test('a dialog that is closed before the number is there is no news', async () => {
  const { first, dialog, changed } = opened();
  dialog.close();
  await settle();
  await numbers(first, 'late');
  assert.equal(changed(), false);
});

test('nobody computes a number that nobody has looked at', () => {
  const mark = new EncryptionMark();
  const unseen = shield();
  mark.setShield(unseen);
  unseen.emit('changed');
  assert.equal(unseen.asked.length, 0);
});
