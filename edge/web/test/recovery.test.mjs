import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { FAILED_GRACE_MS, PLACED_WITHIN_MS, Recovery } from '../static/assets/js/recovery.js';

/** A recovery whose legs and socket count what is asked of them. */
function recovery() {
  const asked = { restarts: 0, nudges: 0, rejoins: 0 };
  const legs = { open: new Map(), current: { disconnected: false }, restartICE: () => { asked.restarts += 1; } };
  const signal = { state: 'open', nudge: () => { asked.nudges += 1; }, rejoin: () => { asked.rejoins += 1; } };
  const it = new Recovery(signal, legs);
  it.watch.stopped = true;
  return { it, legs, signal, asked };
}

test('a changed network is looked for at once', () => {
  const { it, asked } = recovery();
  it.networkChanged();
  assert.deepEqual(asked, { restarts: 1, nudges: 1, rejoins: 0 });
  it.stop();
});

test('media that stopped looks for another network unless the visit is placed anew or media is back', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const cases = [
    ['nothing happens', () => {}, 1],
    ['another media server', ({ legs }) => { legs.current = {}; }, 0],
    ['media is back', ({ it }) => { it.watch.stopped = false; }, 0],
    ['all paths are lost', ({ it, legs }) => { it.watch.stopped = false; legs.current.disconnected = true; }, 1],
    ['the visit is over', ({ it }) => it.stop(), 0],
  ];
  for (const [name, meanwhile, restarts] of cases) {
    const page = recovery();
    page.it.mediaStopped();
    assert.equal(page.asked.nudges, 1, name);
    mock.timers.tick(PLACED_WITHIN_MS / 2);
    meanwhile(page);
    assert.equal(page.asked.restarts, 0, name);
    mock.timers.tick(PLACED_WITHIN_MS / 2);
    assert.equal(page.asked.restarts, restarts, name);
    page.it.stop();
  }
  mock.timers.reset();
});

test('a leg that failed is given up for a new session, but not together with the socket', () => {
  mock.timers.enable({ apis: ['setTimeout', 'setInterval'] });
  const cases = [
    ['nothing happens', () => {}, 1],
    ['its path is back', ({ legs }) => { legs.current.connected = true; }, 0],
    ['another media server', ({ legs }) => { legs.current = {}; }, 0],
    ['the network is gone', ({ signal }) => { signal.state = 'reconnecting'; }, 0],
  ];
  for (const [name, meanwhile, rejoins] of cases) {
    const page = recovery();
    page.it.failed(page.legs.current);
    meanwhile(page);
    mock.timers.tick(FAILED_GRACE_MS);
    assert.equal(page.asked.rejoins, rejoins, name);
    page.it.stop();
  }
  mock.timers.reset();
});
