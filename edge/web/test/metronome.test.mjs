import assert from 'node:assert/strict';
import { beforeEach, afterEach, mock, test } from 'node:test';

/** The worker, which beats once a second. */
const worker = new EventTarget();
globalThis.Worker = class {
  constructor(url) {
    assert.match(url.pathname, /metronome-worker\.js$/);
    return worker;
  }
};
const { every } = await import('../static/assets/js/metronome.js');

let acts = 0;
beforeEach(() => {
  acts = 0;
  mock.timers.enable({ apis: ['setInterval', 'Date'] });
});
afterEach(() => mock.timers.reset());

function pass(seconds) {
  for (let n = 0; n < seconds; n += 1) {
    mock.timers.tick(600);
    worker.dispatchEvent(new Event('message'));
    mock.timers.tick(400);
  }
}

test('a hidden page, whose own timers do not come, goes on by its worker', (t) => {
  const asleep = t.mock.method(globalThis, 'setInterval', () => 0);
  const end = every(1000, () => { acts += 1; });
  asleep.mock.restore();
  pass(6);
  assert.equal(acts, 3);
  end();
  pass(6);
  assert.equal(acts, 3, 'ended is ended');
});

test('timers and worker together are no faster than one', () => {
  const end = every(1000, () => { acts += 1; });
  pass(6);
  end();
  pass(6);
  assert.equal(acts, 6);
});
