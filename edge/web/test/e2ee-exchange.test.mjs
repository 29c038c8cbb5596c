import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { KeyExchange } from '../static/assets/js/e2ee-exchange.js';
import { newIdentity, openLetter, pairKeys, safetyNumber, sealLetter } from '../static/assets/js/e2ee-keys.js';
import { Opener } from '../static/assets/js/e2ee-opener.js';
import { Sealer } from '../static/assets/js/e2ee-sealer.js';

const vectors = JSON.parse(readFileSync(new URL('../../client/e2ee/testdata/vectors.json', import.meta.url)));
const frame = Uint8Array.from({ length: 40 }, (_, i) => i);
const camera = { leg: 1, source: 'camera', layer: 0 };

/** A visit whose server passes messages on when told to. */
class Visit {
  constructor() {
    this.people = new Map();
    this.mail = [];
    this.now = 0;
  }

  async join(name, id = name) {
    const person = { name: id, sealer: new Sealer(id), opener: new Opener(), changes: 0 };
    person.keys = await KeyExchange.create('visit', id, {
      send: (message) => this.mail.push({ ...message, by: id }),
      use: (key) => person.sealer.setKey(key),
      learn: (participant, key) => person.opener.setKey(participant, key),
      forget: (participant) => person.opener.forget(participant),
      changed: () => { person.changes += 1; },
    });
    this.people.set(name, person);
    return person;
  }

  members() {
    return [...this.people.values()].map(({ name, keys }) => ({ participant: name, role: 'patient', state: 'admitted', connected: true, key: keys.own.key }));
  }

  async roster() {
    for (const { keys } of this.people.values()) await keys.roster(this.members(), this.now);
  }

  /** Delivers what was sent, as long as something is. */
  async deliver(lose = () => false) {
    while (this.mail.length > 0) {
      const message = this.mail.shift();
      const to = [...this.people.values()].find(({ name }) => name === message.participant);
      if (to !== undefined && !lose(message)) await to.keys.receive(message);
    }
  }

  async pass(ms) {
    this.now += ms;
    for (const { keys } of this.people.values()) await keys.tick(this.now);
  }
}

const sees = async (viewer, sender, sealed) =>
  viewer.opener.open(sealed ?? await sender.sealer.seal(frame, camera), sender.name, 'camera').then(() => true, () => false);

async function call(...names) {
  const visit = new Visit();
  const people = [];
  for (const name of names) people.push(await visit.join(name));
  await visit.roster();
  await visit.deliver();
  return { visit, people };
}

test('letters of the other implementation open, for whom they are for alone', async () => {
  const [doctor, patient] = await Promise.all(vectors.people.map(async ({ participant, scalar, key }) => {
    const point = Buffer.from(key, 'base64url');
    const jwk = {
      kty: 'EC', crv: 'P-256', d: Buffer.from(scalar, 'hex').toString('base64url'),
      x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url'),
    };
    return { participant, key, privateKey: await crypto.subtle.importKey('jwk', jwk, { name: 'ECDH', namedCurve: 'P-256' }, false, ['deriveBits']) };
  }));
  const pair = await pairKeys(vectors.encounter, patient, doctor);
  const letter = await openLetter(pair.in, vectors.key_letter);
  assert.equal(letter.type, 'key');
  assert.deepEqual([letter.key.generation, letter.key.step], [vectors.generation, vectors.step]);
  assert.equal(Buffer.from(letter.key.secret).toString('hex'), vectors.secret);
  assert.deepEqual(await openLetter(pair.in, vectors.receipt_letter), { type: 'receipt', generation: vectors.generation });
  await assert.rejects(openLetter(pair.out, vectors.key_letter), 'sent back to who wrote it');
  for (const [encounter, own, other] of [
    ['another', patient, doctor], [vectors.encounter, { ...patient, participant: 'family' }, doctor],
    [vectors.encounter, { participant: 'patient', ...await newIdentity() }, doctor],
  ]) await assert.rejects(openLetter((await pairKeys(encounter, own, other)).in, vectors.key_letter));
  assert.equal((await safetyNumber(vectors.encounter, [patient, doctor])).join(''), vectors.safety_number);
});

test('letters that make no sense are refused', async () => {
  const { out } = await pairKeys('visit', { participant: 'a', ...await newIdentity() }, { participant: 'b', ...await newIdentity() });
  const letter = await sealLetter(out, { type: 'receipt', generation: 3 });
  assert.deepEqual(await openLetter(out, letter), { type: 'receipt', generation: 3 });
  assert.notEqual(letter, await sealLetter(out, { type: 'receipt', generation: 3 }));
  const seal = async (...bytes) => {
    const iv = new Uint8Array(12);
    const sealed = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, out, Uint8Array.from(bytes));
    return Buffer.concat([iv, new Uint8Array(sealed)]).toString('base64url');
  };
  for (const data of ['', 'AAAA', '!', letter.slice(0, -1), await seal(), await seal(1, 0, 0), await seal(2, 0), await seal(2, 0, 0, 0), await seal(3, 0, 0)]) {
    await assert.rejects(openLetter(out, data), data);
  }
  await assert.rejects(pairKeys('visit', { participant: 'a', ...await newIdentity() }, { participant: 'b', key: 'AAAA' }));
});

test('the safety number names everybody and their keys, in any order', async () => {
  const [a, b, c] = await Promise.all(['a', 'b', 'c'].map(async (participant) => ({ participant, key: (await newIdentity()).key })));
  const number = async (...people) => (await safetyNumber('visit', people)).join(' ');
  const whole = await number(a, b);
  assert.match(whole, /^(\d{5} ){5}\d{5}$/);
  assert.equal(whole, await number(b, a));
  for (const other of [[a], [a, b, c], [a, { participant: 'b', key: c.key }], [a, { participant: 'c', key: b.key }]]) {
    assert.notEqual(whole, await number(...other));
  }
  assert.notEqual(whole, (await safetyNumber('another', [a, b])).join(' '));
});

test('everybody sees everybody', async () => {
  const { visit, people } = await call('a', 'b', 'c');
  for (const viewer of people) {
    for (const sender of people) if (viewer !== sender) assert.ok(await sees(viewer, sender), `${viewer.name} sees ${sender.name}`);
  }
  await visit.pass(60_000);
  assert.deepEqual(visit.mail, [], 'everything was confirmed');
});

test('who comes sees nothing of what was before, and costs the others no message', async () => {
  const { visit, people: [a, b] } = await call('a', 'b');
  const before = await a.sealer.seal(frame, camera);
  assert.ok(await sees(b, a, before));
  const c = await visit.join('c');
  await visit.roster();
  assert.ok(visit.mail.every(({ participant, by }) => participant === 'c' || by === 'c'));
  const meanwhile = await a.sealer.seal(frame, camera);
  assert.ok(await sees(b, a, meanwhile), 'nothing stops for the others');
  await visit.deliver();
  assert.ok(await sees(c, a));
  assert.ok(await sees(a, c));
  assert.equal(await sees(c, a, before), false);
});

test('who goes sees nothing of what follows', async () => {
  const { visit, people: [a, b, c] } = await call('a', 'b', 'c');
  visit.people.delete('c');
  await visit.roster();
  assert.ok(await sees(b, a), 'nothing stops while the new key is on its way');
  await visit.deliver();
  await visit.pass(0);
  const after = await a.sealer.seal(frame, camera);
  assert.ok(await sees(b, a, after));
  assert.equal(await sees(c, a, after), false);
  assert.equal(await sees(a, c), false, 'and is not shown any more');
});

test('a key that does not arrive is sent again, and not waited for beyond two seconds', async () => {
  const { visit, people: [a, b, c] } = await call('a', 'b', 'c');
  visit.people.delete('c');
  await visit.roster();
  await visit.deliver(({ participant, by }) => participant === 'b' && by === 'a');
  await visit.pass(900);
  assert.equal(visit.mail.filter(({ by }) => by === 'a').length, 0, 'not at once');
  assert.ok(await sees(b, a), 'the old key still');
  await visit.pass(1100);
  assert.equal(await sees(c, a), false, 'the new one');
  assert.equal(await sees(b, a), false);
  await visit.deliver();
  assert.ok(await sees(b, a));
});

test('somebody who comes back with another key is somebody else', async () => {
  const { visit, people: [a, b] } = await call('a', 'b');
  const again = await visit.join('b');
  await visit.roster();
  await visit.deliver();
  await visit.pass(2000);
  await visit.deliver();
  assert.ok(await sees(again, a));
  assert.ok(await sees(a, again));
  assert.equal(await sees(b, a), false, 'the page that was left');
  assert.equal(await sees(a, b), false);
});

test('who has a wrong key sees nothing, and the others go on', async () => {
  const visit = new Visit();
  const [a, b, c] = [await visit.join('a'), await visit.join('b'), await visit.join('c')];
  const swapped = (await newIdentity()).key; // by a server that lies
  const members = visit.members().map((m) => m.participant === 'c' ? { ...m, key: swapped } : m);
  for (const { keys } of [a, b, c]) await keys.roster(members, 0);
  await visit.deliver();
  await visit.pass(3000);
  await visit.deliver();
  assert.ok(await sees(a, b));
  assert.ok(await sees(b, a));
  for (const other of [a, b]) {
    assert.equal(await sees(c, other), false);
    assert.equal(await sees(other, c), false);
    assert.notDeepEqual(await safetyNumber('visit', c.keys.everybody), await safetyNumber('visit', other.keys.everybody));
  }
  assert.deepEqual(await safetyNumber('visit', a.keys.everybody), await safetyNumber('visit', b.keys.everybody));
});

test('nonsense in a roster or a letter harms nobody', async () => {
  const { visit, people: [a, b] } = await call('a', 'b');
  const members = [...visit.members(), { participant: 'x', state: 'admitted', key: '!' }, { participant: 'y', state: 'admitted' },
    { participant: 'z', state: 'waiting', key: b.keys.own.key }];
  await a.keys.roster(members, 0);
  await visit.deliver();
  assert.deepEqual(a.keys.everybody.map(({ participant }) => participant), ['a', 'b']);
  for (const message of [{ by: 'x', data: 'AAAA' }, { by: 'b', data: '' }, { by: 'b', data: '!' }, { data: 'AAAA' }]) await a.keys.receive(message);
  assert.deepEqual(visit.mail, []);
  assert.ok(await sees(b, a));
});

test('after 255 steps there is a new generation', async () => {
  const { people: [a], visit } = await call('a', 'b');
  a.keys.current.step = 255;
  await visit.join('c');
  await visit.roster();
  await visit.deliver();
  await visit.pass(0);
  assert.deepEqual([a.keys.current.generation, a.keys.current.step], [1, 0]);
});
