// axe finds nothing serious in any state of the page.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { before, test } from 'node:test';
import { build, createEncounter, mintLink, startDev } from './lib/wardline.mjs';
import { arrive, launch } from './lib/browser.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

before(build);

async function check(person, state) {
  // The page's own policy forbids foreign scripts; what the debugger evaluates is not one.
  await person.page.evaluate(axe);
  const findings = await person.page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.filter((v) => ['serious', 'critical'].includes(v.impact))
      .map((v) => `${v.id}: ${v.help} (${v.nodes.map((n) => n.target.join(' ')).join(', ')})`);
  });
  assert.deepEqual(findings, [], state);
}

test('axe has no serious finding', { timeout: 120_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t);
  const provider = await arrive(browser, dev.links.provider);
  const patient = await arrive(browser, dev.links.patient, { viewport: { width: 360, height: 740 } });
  await check(patient, 'lobby');
  await provider.join();
  await provider.state('call');
  await patient.join();
  await patient.state('waiting');
  await check(patient, 'waiting');
  await check(provider, 'call with somebody waiting');
  await provider.page.locator('[data-testid="admit-button"]').click();
  await patient.state('call');
  await patient.sees('provider-1');
  await check(patient, 'call');
  await check(provider, 'call as provider');
  await patient.get('leave-button').click();
  await patient.state('ended');
  await check(patient, 'ended');

  await createEncounter(dev, { id: 'sealed', e2ee: true });
  const alone = await arrive(browser, mintLink(dev.data, 'sealed', 'provider', 'provider-1'), { viewport: { width: 360, height: 740 } });
  await alone.join();
  await alone.state('call');
  await alone.get('e2ee-button').click();
  await alone.page.waitForFunction(() => document.querySelectorAll('.safety-number span').length === 6);
  await check(alone, 'safety number');

  await t.test('the page works with the keyboard alone', async () => {
    const page = provider.page;
    await page.keyboard.press('m');
    assert.equal(await provider.get('mute-button').getAttribute('aria-pressed'), 'true');
    await page.keyboard.press('m');
    assert.equal(await provider.get('mute-button').getAttribute('aria-pressed'), 'false');
  });
});
