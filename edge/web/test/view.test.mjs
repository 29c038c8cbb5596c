import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { activate } from '../static/assets/js/publisher.js';
import { shownTiles, View } from '../static/assets/js/view.js';

const page = { width: 1000, height: 700, ratio: 2, hidden: false };
const tile = (left, top, right, bottom, pinned = false) => ({ participant: 'p', source: 'camera', pinned, rect: { left, top, right, bottom } });

test('tiles are told in the pixels of the screen, in steps', () => {
  assert.deepEqual(shownTiles([tile(0, 0, 321, 199)], page), [{ participant: 'p', source: 'camera', width: 640, height: 384 }]);
});

test('what is scrolled away, or on a hidden page, is not seen', () => {
  const away = [tile(0, 700, 300, 900), tile(0, -200, 300, 0), tile(1000, 0, 1200, 200), tile(-300, 0, 0, 200)];
  for (const { width, height } of shownTiles(away, page)) assert.deepEqual([width, height], [0, 0]);
  const [hidden] = shownTiles([tile(0, 0, 300, 300, true)], { ...page, hidden: true });
  assert.deepEqual(hidden, { participant: 'p', source: 'camera', width: 0, height: 0 });
});

test('what is pinned comes first', () => {
  const [pinned, other] = shownTiles([tile(0, 0, 300, 300, true), tile(0, 0, 300, 300)], page);
  assert.equal(pinned?.pinned, true);
  assert.equal(other?.pinned, undefined);
});

test('there is a limit to what is told', () => {
  assert.equal(shownTiles(Array.from({ length: 300 }, () => tile(0, 0, 10, 10)), page).length, 256);
  assert.equal(shownTiles([tile(0, 0, 50_000, 10)], page)[0]?.width, 16_384);
});

test('only layers that are watched are encoded', () => {
  const encodings = [{ rid: 'q', active: true }, { rid: 'h' }, { rid: 'f', active: false }];
  assert.equal(activate(encodings, ['q', 'f']), true);
  assert.deepEqual(encodings.map(({ active }) => active), [true, false, true]);
  assert.equal(activate(encodings, ['q', 'f']), false);
  assert.equal(activate([{ active: true }], []), false, 'one encoding is no choice');
});

/** A page, and its clock, which passes as it is told. */
function onPage(t) {
  const time = {
    now: 0,
    pass(ms) {
      time.now += ms;
      mock.timers.tick(ms);
    },
  };
  t.mock.method(performance, 'now', () => time.now);
  mock.timers.enable({ apis: ['setTimeout'] });
  globalThis.document = Object.assign(new EventTarget(), { hidden: false });
  globalThis.window = { innerWidth: 1000, innerHeight: 700, devicePixelRatio: 1 };
  t.after(() => {
    mock.timers.reset();
    delete globalThis.document;
    delete globalThis.window;
  });
  return time;
}

test('where something moves all the time it is told every second', (t) => {
  const time = onPage(t);
  const told = [];
  const view = new View(() => [tile(0, 0, 320, 320)], () => told.push(time.now));
  while (time.now < 3000) { // as people come to a large visit
    view.later();
    time.pass(100);
  }
  assert.equal(told.length, 3, `told at ${told}`);
  view.dispose();
});

test('a page counts as hidden after 5 s, whatever moves on it meanwhile', (t) => {
  const { pass } = onPage(t);
  const told = [];
  const view = new View(() => [tile(0, 0, 320, 320)], (tiles) => told.push(tiles[0].width));
  const turn = (hidden) => {
    document.hidden = hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  };
  turn(true);
  view.later();
  pass(4999);
  view.later();
  assert.deepEqual(told, []);
  pass(250);
  assert.deepEqual(told, [0]);
  view.later();
  pass(250);
  assert.deepEqual(told, [0, 0], 'what comes later is told as soon as it has settled');
  turn(false);
  pass(0);
  assert.deepEqual(told, [0, 0, 320]);
  view.dispose();
});
