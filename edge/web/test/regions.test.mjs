import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { mayConnect, measureRegions, readRegions } from '../static/assets/js/regions.js';

const ORIGIN = 'https://here.example';
const POLICY = "default-src 'none'; connect-src 'self' wss://here.example https://far.example:8443; img-src 'self'";

/** A network in which each gateway answers after so many milliseconds of a clock of its own; null: never. */
function network(regions, delays) {
  const asked = [];
  let clock = 0;
  const fetch = async (url, { signal }) => {
    const { origin } = new URL(url);
    asked.push(origin);
    const list = delays[origin];
    const delay = Array.isArray(list) ? list.shift() : list;
    if (delay === undefined) throw new TypeError('refused');
    if (delay === null) {
      return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason), { once: true }));
    }
    clock += delay;
    return new Response(JSON.stringify({ regions }), { headers: { 'Content-Security-Policy': POLICY } });
  };
  return { asked, fetch, now: () => clock };
}

test('the best of three round trips to each region is measured', async () => {
  const { fetch, now, asked } = network([{ region: 'north', urls: [ORIGIN] }], { [ORIGIN]: [70, 40, 12.34, 20] });
  const found = [];
  assert.deepEqual(await measureRegions({ origin: ORIGIN, found: (regions) => found.push(regions), fetch, now }), { north: 12.3 });
  assert.deepEqual(found, [[{ region: 'north', urls: [ORIGIN] }]], 'the list is passed on before it is measured');
  assert.equal(asked.length, 4, 'the list, then three measurements');
});

test('regions that are unreachable or that the page may not ask are left out', async () => {
  const { fetch, now, asked } = network([
    { region: 'near', urls: [ORIGIN] },
    { region: 'far', urls: ['https://far.example:8443'] },
    { region: 'foreign', urls: ['https://elsewhere.example'] },
  ], { [ORIGIN]: 5 });
  assert.deepEqual(Object.keys(await measureRegions({ origin: ORIGIN, fetch, now })), ['near']);
  assert.ok(asked.includes('https://far.example:8443') && !asked.includes('https://elsewhere.example'));
});

test('a region that never answers holds nothing up and what is known is known at once', async () => {
  const waiting = mock.method(AbortSignal, 'timeout', (ms) => {
    assert.equal(ms, 2000);
    return controller.signal;
  });
  const controller = new AbortController();
  const regions = [{ region: 'near', urls: [ORIGIN] }, { region: 'far', urls: ['https://far.example:8443'] }];
  const { fetch, now } = network(regions, { [ORIGIN]: 5, 'https://far.example:8443': null });
  const into = {};
  const all = measureRegions({ origin: ORIGIN, fetch, now }, into);
  while (into.near === undefined) await new Promise((resolve) => setImmediate(resolve));
  controller.abort();
  assert.deepEqual(await all, { near: 5 });
  waiting.mock.restore();
});

test('a browser that cannot set a time limit measures all the same', async () => {
  const { timeout } = AbortSignal;
  AbortSignal.timeout = undefined;
  const { fetch, now } = network([{ region: 'north', urls: [ORIGIN] }], { [ORIGIN]: 5 });
  const measured = measureRegions({ origin: ORIGIN, fetch, now }).finally(() => { AbortSignal.timeout = timeout; });
  assert.deepEqual(await measured, { north: 5 });
});

test('no list, no measurements, no error', async () => {
  const { now } = network([], {});
  for (const answer of ['', 'null', '[]', '{"regions":{}}', '{"regions":[null,{"region":"","urls":[]},{"region":"a"}]}']) {
    const fetch = async () => new Response(answer);
    assert.deepEqual(await measureRegions({ origin: ORIGIN, fetch, now }), {}, answer);
  }
  const failing = async () => new Response('busy', { status: 503 });
  assert.deepEqual(await measureRegions({ origin: ORIGIN, fetch: failing, now }), {});
});

test('the list is read with care', () => {
  assert.deepEqual(readRegions('{"regions":[{"region":"a","urls":["https://a","b",7]},{"urls":[]}]}'), [{ region: 'a', urls: ['https://a', 'b'] }]);
  assert.throws(() => readRegions('<html>'));
});

test('only gateways that the page\'s policy names are asked', () => {
  const cases = {
    [ORIGIN]: true, 'https://far.example:8443/': true, 'https://far.example': false, 'wss://here.example': false,
    'https://elsewhere.example': false, 'http://far.example:8443': false, 'not a url': false,
  };
  for (const [url, wanted] of Object.entries(cases)) assert.equal(mayConnect(POLICY, ORIGIN, url), wanted, url);
  assert.equal(mayConnect('', ORIGIN, 'https://far.example:8443'), false);
});
