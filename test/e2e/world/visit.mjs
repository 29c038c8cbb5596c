// A visit of two Chromiums in different regions of a world of real Consul and Nomad servers (test/stack/deploy). Each browser
// runs on a guest node of its region.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { arrive, launch, visit } from '../lib/browser.mjs';

/** @param {string} name of a variable that test/stack/deploy sets */
function given(name) {
  const value = process.env[name];
  assert.ok(value, `${name} is not set: run this through the tests of test/stack/deploy`);
  return value;
}

test('a clinician and a patient in different regions', { timeout: 120_000 }, async (t) => {
  const there = await launch(t, { executablePath: given('WARDLINE_PROVIDER_BROWSER') });
  const here = await launch(t, { executablePath: given('WARDLINE_PATIENT_BROWSER') });
  const provider = await arrive(there, given('WARDLINE_PROVIDER_LINK'));
  const patient = await arrive(here, given('WARDLINE_PATIENT_LINK'), { query: '?ice=relay&turn=udp' });
  await visit(provider, { 'patient-1': patient });
  for (const [me, other] of [[provider, 'patient-1'], [patient, 'provider-1']]) {
    await me.sees(other);
    await me.hears(other);
  }
  for (const entry of await patient.stats()) assert.equal(entry.path, 'relay-udp');
  for (const entry of await provider.stats()) assert.ok(!entry.path.startsWith('relay'), entry.path);
});
