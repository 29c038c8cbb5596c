import assert from 'node:assert/strict';
import { test } from 'node:test';
import { forgetToken, readClaims, takeToken } from '../static/assets/js/token.js';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const tokenOf = (claims) => `${encode({ alg: 'EdDSA' })}.${encode(claims)}.c2ln`;

function browser(hash, stored = {}) {
  const replaced = [];
  const values = new Map(Object.entries(stored));
  return {
    location: { hash, pathname: '/visit', search: '?ice=relay' },
    history: { replaceState: (_state, _title, url) => replaced.push(url) },
    storage: {
      getItem: (key) => values.get(key) ?? null,
      setItem: (key, value) => values.set(key, value),
      removeItem: (key) => values.delete(key),
    },
    replaced,
    values,
  };
}

test('the token leaves the address bar and survives a reload', () => {
  const token = tokenOf({ sub: 'p1' });
  const first = browser(`#${token}`);
  assert.equal(takeToken(first.location, first.history, first.storage), token);
  assert.deepEqual(first.replaced, ['/visit?ice=relay']);

  const reloaded = browser('', Object.fromEntries(first.values));
  assert.equal(takeToken(reloaded.location, reloaded.history, reloaded.storage), token);
  assert.deepEqual(reloaded.replaced, []);

  forgetToken(first.storage);
  assert.equal(first.values.size, 0);
});

test('a newer link replaces the stored one', () => {
  const page = browser(`#${tokenOf({ sub: 'new' })}`, { 'wardline.token': tokenOf({ sub: 'old' }) });
  assert.equal(readClaims(takeToken(page.location, page.history, page.storage)).participant, 'new');
});

test('what is no token is not kept, but still leaves the address bar', () => {
  for (const hash of ['#hello', '#a.b', '#a.b.c.d', `#a.${'b'.repeat(9000)}.c`, '#<script>.x.y']) {
    const page = browser(hash);
    assert.equal(takeToken(page.location, page.history, page.storage), '', hash);
    assert.equal(page.replaced.length, 1, hash);
    assert.equal(page.values.size, 0, hash);
  }
});

test('a link that is cut short does not open the visit before, now or after a reload', () => {
  const page = browser('#eyJhbGciOiJFZERTQSJ9.eyJz', { 'wardline.token': tokenOf({ sub: 'old' }) });
  assert.equal(takeToken(page.location, page.history, page.storage), '');
  assert.equal(takeToken({ ...page.location, hash: '' }, page.history, page.storage), '');
});

test('a browser without storage can still join', () => {
  const page = browser(`#${tokenOf({ sub: 'p1' })}`);
  const refuse = () => { throw new Error('SecurityError'); };
  const storage = { getItem: refuse, setItem: refuse, removeItem: refuse };
  assert.notEqual(takeToken(page.location, page.history, storage), '');
  assert.equal(takeToken({ ...page.location, hash: '' }, page.history, storage), '');
  forgetToken(storage);
});

test('claims are read for display, names in any script included', () => {
  const claims = readClaims(tokenOf({
    sub: 'p1',
    'https://wardline.health/claims/visit': { role: 'patient', name: 'Zoë Łukasik 李', encounter: 'e1' },
  }));
  assert.deepEqual(claims, { role: 'patient', name: 'Zoë Łukasik 李', participant: 'p1', encounter: 'e1', e2ee: false });
});

test('only a clear word counts as a promise of encryption', () => {
  for (const [e2ee, promised] of [[true, true], [false, false], ['true', false], [undefined, false]]) {
    assert.equal(readClaims(tokenOf({ 'https://wardline.health/claims/visit': { e2ee } })).e2ee, promised, String(e2ee));
  }
});

test('broken claims are empty, not an error', () => {
  for (const token of ['', 'a.b.c', 'a.!!!.c', `a.${encode(null)}.c`, `a.${encode('text')}.c`, `a.${encode({ sub: 7, 'https://wardline.health/claims/visit': [] })}.c`]) {
    assert.deepEqual(readClaims(token), { role: '', name: '', participant: '', encounter: '', e2ee: false }, token);
  }
});
