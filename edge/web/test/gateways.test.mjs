import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Gateways, signalAddress } from '../static/assets/js/gateways.js';
import { mayConnect } from '../static/assets/js/regions.js';

const at = (name) => `wss://${name}.example/v1/signal`;
const gateway = (name, region = 'east') => ({ id: name, region, url: `https://${name}.example` });

test('the one that works comes first, then the others as they were named', () => {
  const gateways = new Gateways(at('a'));
  assert.deepEqual(gateways.order(), [at('a')]);
  gateways.tell([gateway('a'), gateway('b'), gateway('c', 'west')]);
  assert.deepEqual(gateways.order(), [at('a'), at('b'), at('c')]);
  gateways.welcomed(at('c'));
  assert.deepEqual(gateways.order(), [at('c'), at('a'), at('b')]);
});

test('a newer list replaces the older; the one in use stays', () => {
  const gateways = new Gateways(at('a'));
  gateways.tell([gateway('a'), gateway('b')]);
  gateways.tell([gateway('c')]);
  assert.deepEqual(gateways.order(), [at('a'), at('c')]);
  gateways.tell(null);
  assert.deepEqual(gateways.order(), [at('a')]);
  gateways.tell(undefined);
  assert.deepEqual(gateways.order(), [at('a')]);
});

test('what failed comes last until one welcomes', () => {
  const gateways = new Gateways(at('a'));
  gateways.tell([gateway('a'), gateway('b'), gateway('c')]);
  gateways.failed(at('a'));
  assert.deepEqual(gateways.order(), [at('b'), at('c'), at('a')]);
  assert.equal(gateways.untried, true);
  gateways.failed(at('b'));
  gateways.failed(at('c'));
  assert.equal(gateways.untried, false);
  assert.deepEqual(gateways.order(), [at('a'), at('b'), at('c')]);
  gateways.welcomed(at('b'));
  assert.deepEqual(gateways.order(), [at('b'), at('a'), at('c')]);
});

test('what the page found out by itself counts until a gateway says', () => {
  const gateways = new Gateways(at('a'));
  gateways.suggest(['https://b.example', 'nonsense']);
  assert.deepEqual(gateways.order(), [at('a'), at('b')]);
  gateways.tell([gateway('c')]);
  gateways.suggest(['https://b.example']);
  assert.deepEqual(gateways.order(), [at('a'), at('c')]);
});

test('a list is bounded', () => {
  const gateways = new Gateways(at('a'));
  gateways.tell(Array.from({ length: 100 }, (_, i) => gateway(`g${i}`)));
  assert.equal(gateways.order().length, 17);
});

test('addresses are made from base URLs that a page can go to', () => {
  assert.equal(signalAddress('https://b.example:8443/', true), 'wss://b.example:8443/v1/signal');
  assert.equal(signalAddress('http://127.0.0.1:8080', false), 'ws://127.0.0.1:8080/v1/signal');
  assert.equal(signalAddress('http://127.0.0.1:8080', true), '', 'never from TLS to none');
  for (const url of ['', 'b.example', 'wss://b.example', 'javascript:1', 'https://me@b.example', null, 7, {}]) {
    assert.equal(signalAddress(url, true), '', String(url));
  }
});

test('browsers that cannot only check an address go on as well', () => {
  const { canParse } = URL;
  delete URL.canParse;
  try {
    assert.equal(signalAddress('https://gw-2.example', true), 'wss://gw-2.example/v1/signal');
    assert.equal(signalAddress('not an address', true), '');
    assert.equal(mayConnect("connect-src 'self' https://gw-2.example", 'https://gw-1.example', 'https://gw-2.example'), true);
    assert.equal(mayConnect("connect-src 'self'", 'https://gw-1.example', 'https://gw-2.example'), false);
  } finally {
    URL.canParse = canParse;
  }
});
