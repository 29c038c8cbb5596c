import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Encryption } from '../static/assets/js/encryption.js';

const encryption = (promised) => new Encryption({ on() {} }, {}, promised, { call: () => null, quit() {} });
const welcome = (e2ee) => ({ e2ee, resumed: false, you: { encounter: 'e1', participant: 'p1' } });

test('who was promised an encrypted visit does not stay in one that is not, whatever the server says', () => {
  assert.equal(encryption(true).welcome(welcome(false)), 'encounter-not-encrypted');
  assert.equal(encryption(false).welcome(welcome(false)), '');
});

test('a visit that was encrypted stays so', () => {
  const visit = encryption(false);
  visit.shield = {};
  assert.equal(visit.welcome(welcome(false)), 'e2ee-lost');
});
