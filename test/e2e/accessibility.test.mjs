// axe finds nothing serious in any state of the page.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { before, test } from 'node:test';
import { build, createEncounter, mintLink, startDev, until } from './lib/wardline.mjs';
import { arrive, launch, meet } from './lib/browser.mjs';

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

/** Waits until the focus is at what is described. */
const focused = (person, what) => until(`the focus is at ${what}`, async () => {
  const at = await person.page.evaluate(() => `${document.activeElement.tagName} ${document.activeElement.textContent}`);
  if (at === what) return true;
  throw new Error(at);
}, 5000);

test('whoever uses a keyboard is never lost', { timeout: 120_000 }, async (t) => {
  const dev = await startDev(t);
  const browser = await launch(t);
  const phone = { viewport: { width: 320, height: 640 } };
  const { provider, patient, link } = await meet(browser, dev, 'keyboard', { patient: phone });

  await t.test('who admits goes on at the list, or at the heading after the last', async () => {
    for (const participant of ['family-1', 'family-2']) {
      const guest = await arrive(browser, link('family', participant, participant));
      await guest.join();
      await guest.state('waiting');
    }
    for (const [participant, next] of [['family-1', 'H2 Waiting'], ['family-2', 'H1 Video visit']]) {
      await provider.page.locator(`[data-testid="admit-button"][data-participant="${participant}"]`).press('Enter');
      await focused(provider, next);
    }
    await provider.page.locator('[data-testid="remove-button"][data-participant="family-1"]').press('Enter');
    await provider.page.getByTestId('remove-confirm').press('Enter');
    await focused(provider, 'H2 People');
  });

  await t.test('nothing that has the focus is covered by the list of people on a phone', async () => {
    const { page } = patient;
    await patient.get('people-button').press('Enter');
    const covered = [];
    await page.locator('h1').focus();
    for (let tabs = 0; tabs < 12; tabs += 1) {
      await page.keyboard.press('Tab');
      covered.push(...await page.evaluate(() => {
        const element = document.activeElement;
        const { left, top, width, height } = element.getBoundingClientRect();
        const over = document.elementFromPoint(left + width / 2, top + height / 2);
        return element === document.body || element.contains(over) ? [] : [element.outerHTML.slice(0, 80)];
      }));
    }
    assert.deepEqual(covered, []);
    await patient.get('people-button').press('Enter');
  });

  await t.test('the focus is seen on dark pictures', async () => {
    const ring = await provider.get('pin-button').first().evaluate((button) => {
      button.focus({ focusVisible: true });
      return getComputedStyle(button).outlineColor;
    });
    const light = (/** @type {number[]} */ [r, g, b]) => [0.2126 * r, 0.7152 * g, 0.0722 * b].reduce((a, c) => a + c);
    const linear = (/** @type {number} */ value) => (value <= 10 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
    const [of, on] = [ring.match(/\d+/g).slice(0, 3).map(Number), [0x1d, 0x2b, 0x30]].map((rgb) => light(rgb.map(linear)) + 0.05);
    assert.ok(of / on >= 3, `${ring}: ${of / on}`);
  });

  await t.test('who has switched the single keys off types in peace, also after a reload', async () => {
    const { page } = provider;
    const pressed = () => provider.get('mute-button').getAttribute('aria-pressed');
    await page.locator('h1').focus();
    await page.keyboard.press('m');
    assert.equal(await pressed(), 'true');
    await provider.get('devices-button').click();
    await page.getByRole('checkbox', { name: 'M and V' }).uncheck();
    await page.getByRole('button', { name: 'Done' }).click();
    await page.locator('[data-testid=mute-button]:not([aria-keyshortcuts])').waitFor(); // once the dialog has closed, which is a task of its own
    await page.keyboard.press('m');
    assert.equal(await pressed(), 'true');
    await page.reload();
    await provider.join();
    await provider.state('call');
    const before = await pressed();
    await page.keyboard.press('m');
    assert.equal(await pressed(), before);
  });

  await t.test('the end is read also to whoever has a dialog open', async () => {
    await patient.get('devices-button').click();
    await provider.get('end-button').click();
    await provider.page.getByTestId('end-confirm').click();
    await patient.state('ended');
    await focused(patient, 'H1 The visit has ended');
  });

  await t.test('who tries again can do so once more, and goes on at the heading when it has helped', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      const open = MediaDevices.prototype.getUserMedia;
      window.allowed = false;
      MediaDevices.prototype.getUserMedia = async function get(wanted) {
        if (!window.allowed) throw new DOMException('', 'NotAllowedError');
        return open.call(this, wanted);
      };
    });
    const guest = await arrive(browser, link('family', 'family-4'), { prepare });
    const again = guest.page.getByRole('button', { name: 'Try again' });
    await again.evaluate((button) => { button.dataset.first = ''; });
    await again.press('Enter');
    await until('it was tried', () => again.evaluate((button) => button.dataset.first === undefined));
    await focused(guest, 'BUTTON Try again');
    await guest.page.evaluate(() => { window.allowed = true; });
    await again.press('Enter');
    await focused(guest, 'H1 Check your camera and microphone');
    await guest.context.close();
  });

  await t.test('who is admitted hears where they are and who is there, each once', async () => {
    const prepare = ({ page }) => page.addInitScript(() => {
      window.said = [];
      addEventListener('DOMContentLoaded', () => {
        const region = document.getElementById('announcer');
        new MutationObserver(() => region.textContent !== '' && window.said.push(region.textContent)).observe(region, { childList: true });
        addEventListener('focusin', ({ target }) => window.said.push(target.textContent));
      });
    });
    const [host, helper, guest] = await Promise.all([['provider', 'Dr. Demo'], ['interpreter', 'Ina Demo'], ['patient', 'Pat Demo']].map(([role, name]) =>
      arrive(browser, mintLink(dev.data, 'spoken', role, `${role}-1`, name), { prepare })));
    for (const person of [host, helper, guest]) await person.join();
    for (const participant of ['interpreter-1', 'patient-1']) {
      await host.page.locator(`[data-testid="admit-button"][data-participant="${participant}"]`).click();
      await host.tile(participant).waitFor();
    }
    const said = () => guest.page.evaluate(() => window.said.slice(window.said.indexOf('You are in the waiting room')));
    await until('all is said', async () => (await said()).includes('Ina Demo and Dr. Demo are here.'), 5000);
    assert.deepEqual(await said(),
      ['You are in the waiting room', 'Video visit', 'You are in the visit.', 'Ina Demo and Dr. Demo are here.']);
    await Promise.all([host, helper, guest].map(({ context }) => context.close()));
  });

  await t.test('what the lobby says is in a region that is there before', async () => {
    const guest = await arrive(browser, link('family', 'family-3'));
    const status = guest.page.locator('.lobby [role="status"]');
    await until('it has nothing to say', async () => (await status.textContent()) === '');
    assert.notEqual(await status.evaluate((element) => getComputedStyle(element).display), 'none');
  });
});
