import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Sounds } from '../static/assets/js/sounds.js';

/** As much of an element as sounds use. */
class FakeElement {
  children = new Set();
  srcObject = null;

  setAttribute() {}

  append(...children) {
    for (const child of children) {
      this.children.add(child);
      child.parent = this;
    }
  }

  remove() {
    this.parent.children.delete(this);
  }

  async play() {
    if (this.srcObject !== null) started.push(this);
  }
}

/** Whatever has been started, in the page or not. */
let started = [];

beforeEach(() => {
  started = [];
  globalThis.document = { createElement: () => new FakeElement() };
  globalThis.MediaStream = class { constructor([track]) { this.track = track; } };
});
afterEach(() => {
  delete globalThis.document;
  delete globalThis.MediaStream;
});

const track = (muted) => Object.assign(new EventTarget(), { muted, readyState: 'live' });
const heard = () => started.filter(({ srcObject }) => srcObject !== null).map(({ srcObject }) => srcObject.track);

function unmute(it) {
  it.muted = false;
  it.dispatchEvent(new Event('unmute'));
}

test('the old voice plays until the new one is there', () => {
  const sounds = new Sounds(() => {});
  const [old, next] = [track(false), track(true)];
  sounds.update(new Map([['p', old]]));
  sounds.update(new Map([['p', next]]));
  assert.deepEqual(heard(), [old]);
  unmute(next);
  assert.deepEqual(heard(), [next]);
});

for (const muted of [false, true]) {
  test(`a voice that is replaced before its first packet is never heard, nor is the one before it beside a ${muted ? 'silent' : 'third'} one`, () => {
    const sounds = new Sounds(() => {});
    const [old, next, last] = [track(false), track(true), track(muted)];
    for (const it of [old, next, last]) sounds.update(new Map([['p', it]]));
    assert.deepEqual(heard(), [muted ? old : last]);
    unmute(last);
    unmute(next);
    assert.deepEqual(heard(), [last]);
    assert.equal(sounds.element.children.size, 1);
  });
}

test('a track that becomes another\'s before its first packet leaves the voice before it to whom it is', () => {
  const sounds = new Sounds(() => {});
  const [old, next, last] = [track(false), track(true), track(true)];
  sounds.update(new Map([['p', old]]));
  sounds.update(new Map([['p', next]]));
  sounds.update(new Map([['q', next], ['p', last]]));
  unmute(next);
  assert.deepEqual(heard(), [old, next], 'which goes on until their own is there');
  unmute(last);
  assert.deepEqual(heard(), [next, last]);
});

test('nothing plays on after the end, whatever was still to come', () => {
  const sounds = new Sounds(() => {});
  const [old, next] = [track(false), track(true)];
  for (const it of [old, next]) sounds.update(new Map([['p', it]]));
  sounds.dispose();
  unmute(next);
  assert.deepEqual(heard(), []);
});
