import assert from 'node:assert/strict';
import { afterEach, beforeEach, mock, test } from 'node:test';
import { Banner } from '../static/assets/js/banner.js';

/** As much of an element as the banner uses. */
const element = () => Object.assign(new EventTarget(), {
  dataset: {}, hidden: true, textContent: '', append() {}, replaceChildren() {}, setAttribute() {},
});

beforeEach(() => {
  globalThis.document = { createElement: element, querySelector: () => null, querySelectorAll: () => [] };
  mock.timers.enable({ apis: ['setTimeout'] });
});
afterEach(() => {
  mock.timers.reset();
  delete globalThis.document;
});

const seen = ({ element: strip, text, button }) => (strip.hidden ? '' : [strip.dataset.kind, text.textContent, button.textContent].join('|'));

test('what is over uncovers what still is, with its button', () => {
  const banner = new Banner(element());
  let taps = 0;
  banner.show('sound', 'no sound', { kind: 'info', button: 'turn on', act: () => { taps += 1; } });
  banner.show('signal', 'lost');
  assert.equal(seen(banner), 'warn|lost|');
  assert.equal(banner.button.hidden, true);
  banner.show('signal', 'back', { kind: 'info', forMs: 2500 });
  assert.equal(seen(banner), 'info|back|');
  mock.timers.tick(2500);
  assert.equal(seen(banner), 'info|no sound|turn on');
  banner.button.onclick();
  assert.deepEqual([taps, seen(banner)], [1, '']);
});

test('what is over under something newer does not come back', () => {
  const banner = new Banner(element());
  banner.show('media', 'no media');
  banner.show('device', 'unplugged', { forMs: 8000 });
  assert.equal(banner.shows('media'), true);
  banner.hide('media');
  assert.equal(seen(banner), 'warn|unplugged|');
  mock.timers.tick(8000);
  assert.equal(seen(banner), '');
});

test('what is said again stays as long as it is said to', () => {
  const banner = new Banner(element());
  banner.show('action', 'failed', { forMs: 5000 });
  mock.timers.tick(4000);
  banner.show('action', 'failed', { forMs: 5000 });
  mock.timers.tick(4000);
  assert.equal(seen(banner), 'warn|failed|');
  banner.clear();
  assert.equal(seen(banner), '');
  banner.show('action', 'for good');
  mock.timers.tick(5000);
  assert.equal(seen(banner), 'warn|for good|');
});
