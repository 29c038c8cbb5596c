// People in a visit: each is a browser context of Debian's Chromium with a fake camera and microphone.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { mintLink, until } from './wardline.mjs';

const executable = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
  .find((path) => path && existsSync(path));

/** Everybody who came by a browser, for what has to be true of all of them at the end. */
const people = new WeakMap();

/**
 * Launches one Chromium for a test, which fails when any page in it had an error that nobody handled. Its cameras take few
 * pictures a second, so that two tests fit on two processors; what is measured is measured with as many as cameras have.
 */
export async function launch(t, { cameras = 1, fps = 10, allow = true, executablePath = executable, more = [] } = {}) {
  const browser = await chromium.launch({
    executablePath,
    args: [
      '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-sync', '--disable-quic',
      '--disable-background-networking', '--disable-component-update', '--disable-background-timer-throttling',
      '--disable-renderer-backgrounding', '--disable-backgrounding-occluded-windows',
      `--use-fake-device-for-media-stream=device-count=${cameras},fps=${fps}`, ...(allow ? ['--use-fake-ui-for-media-stream'] : []),
      '--auto-accept-this-tab-capture', '--auto-select-desktop-capture-source=Entire screen',
      '--autoplay-policy=no-user-gesture-required', '--allow-loopback-in-peer-connection',
      '--ignore-certificate-errors', ...more,
    ],
  });
  const all = [];
  people.set(browser, all);
  t.after(async () => {
    await browser.close();
    assert.deepEqual(all.flatMap(({ errors }) => errors), [], 'errors that no page handled');
  });
  return browser;
}

/** Opens a join link and returns the person behind it, in the lobby. */
export async function arrive(browser, link, { viewport = { width: 1440, height: 900 }, query = '', permissions = ['camera', 'microphone'], prepare = async () => {} } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport, permissions });
  const page = await context.newPage();
  const person = new Person(context, page);
  people.get(browser).push(person);
  page.on('pageerror', (error) => person.errors.push(`${error}`));
  page.on('console', (message) => person.console.push(message.text()));
  page.on('request', (request) => person.requests.push(request.url()));
  await prepare(person);
  const url = new URL(link);
  url.search = query;
  await page.goto(url.href);
  await person.state('lobby');
  return person;
}

class Person {
  constructor(context, page) {
    Object.assign(this, { context, page, errors: [], console: [], requests: [] });
  }

  /** Waits for the page to be in a state: lobby, waiting, call or ended. */
  state(name, timeout = 20_000) {
    return this.page.waitForSelector(`body[data-state="${name}"]`, { timeout });
  }

  get(id) {
    return this.page.getByTestId(id);
  }

  async join() {
    await this.get('join-button').click();
  }

  /** Another's camera tile, or the one that matches more closely. */
  tile(participant, more = '') {
    return this.page.locator(`[data-testid="tile"][data-participant="${participant}"][data-source="camera"]${more}`);
  }

  /** The numbers of the legs open now. */
  async legs() {
    return (await this.page.evaluate(() => window.wardline.legs())).map(({ leg }) => leg);
  }

  /** The client's own summary of getStats, one entry a track. */
  stats() {
    return this.page.evaluate(() => window.wardline.stats());
  }

  async received(participant, source, kind) {
    const all = await this.stats();
    return all.filter((s) => s.participant === participant && s.source === source && s.kind === kind && s.packetsReceived > 0)
      .sort((a, b) => b.leg - a.leg)[0];
  }

  /** Waits until another's video decodes new frames and its picture is not black. */
  async sees(participant, source = 'camera', timeout = 20_000) {
    const first = await until(`video of ${participant} (${source}) arrives`, () => this.received(participant, source, 'video'), timeout);
    await until(`video of ${participant} (${source}) goes on`, async () => {
      const now = await this.received(participant, source, 'video');
      return now && (now.leg !== first.leg ? now.framesDecoded > 3 : now.framesDecoded > first.framesDecoded + 3);
    }, timeout);
    await until(`picture of ${participant} (${source}) is not black`, async () => {
      return (await this.brightness(participant, source)) > 16;
    }, timeout);
  }

  /** Waits until another's picture has that many lines. */
  shows(participant, lines, timeout = 20_000) {
    return until(`a picture of ${participant} with ${lines} lines`, async () => {
      return (await this.received(participant, 'camera', 'video'))?.frameHeight >= lines;
    }, timeout);
  }

  /** Starts to measure the longest time without a packet of another's audio. */
  watchGap(participant) {
    return this.page.evaluate((participant) => {
      const gap = { longest: 0, since: performance.now(), packets: new Map(), stop: false };
      window.audioGap = gap;
      (async () => {
        while (!gap.stop) {
          const now = performance.now();
          for (const s of await window.wardline.stats()) {
            if (s.participant !== participant || s.kind !== 'audio' || !(s.packetsReceived > (gap.packets.get(s.leg) ?? 0))) continue;
            gap.packets.set(s.leg, s.packetsReceived);
            gap.longest = Math.max(gap.longest, now - gap.since);
            gap.since = now;
          }
          await new Promise((resolve) => setTimeout(resolve, 10));
        }
        gap.longest = Math.max(gap.longest, performance.now() - gap.since);
      })();
    }, participant);
  }

  /** Ends that and returns the gap in ms. */
  async gap() {
    await this.page.evaluate(() => { window.audioGap.stop = true; });
    await new Promise((resolve) => setTimeout(resolve, 100));
    return this.page.evaluate(() => window.audioGap.longest);
  }

  /** Waits until signaling is open at a gateway. */
  signalsAt(gateway, timeout = 15_000) {
    const address = `${gateway.replace('http', 'ws')}/v1/signal`;
    return until(`signaling at ${gateway}`, () => this.page.evaluate((wanted) =>
      window.wardline.signal() === 'open' && window.wardline.gateway() === wanted, address), timeout);
  }

  /** Mean luma, 0 to 255, of a tile's picture. */
  brightness(participant, source) {
    const tile = `[data-testid="tile"][data-participant="${participant}"][data-source="${source}"] video`;
    return this.page.evaluate((selector) => {
      const video = document.querySelector(selector);
      if (!video || !video.videoWidth) return 0;
      const canvas = new OffscreenCanvas(32, 32);
      const context = canvas.getContext('2d');
      context.drawImage(video, 0, 0, 32, 32);
      const { data } = context.getImageData(0, 0, 32, 32);
      let sum = 0;
      for (let i = 0; i < data.length; i += 4) sum += 0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2];
      return sum / (data.length / 4);
    }, tile);
  }

  /** Waits until another's audio carries energy: the fake microphone beeps once a second. */
  async hears(participant, timeout = 20_000) {
    const first = await until(`audio of ${participant} arrives`, () => this.received(participant, 'microphone', 'audio'), timeout);
    await until(`audio of ${participant} has energy`, async () => {
      const now = await this.received(participant, 'microphone', 'audio');
      return now && (now.leg !== first.leg || now.totalAudioEnergy > first.totalAudioEnergy + 1e-6);
    }, timeout);
  }
}

/** Brings people into the call: the provider enters, the others wait and are admitted. */
export async function visit(provider, others) {
  await provider.join();
  await provider.state('call');
  for (const [participant, person] of Object.entries(others)) {
    await person.join();
    await person.state('waiting');
    await provider.page.locator(`[data-testid="admit-button"][data-participant="${participant}"]`).click();
    await person.state('call');
  }
}

/** A provider and a patient who see each other in an encounter of their own; more can come by link. */
export async function meet(browser, dev, encounter, options = {}) {
  const link = (role, participant, name) => mintLink(dev.data, encounter, role, participant, name);
  const provider = await arrive(browser, link('provider', 'provider-1', 'Dr. Demo'), options.provider);
  const patient = await arrive(browser, link('patient', 'patient-1', 'Pat Demo'), options.patient);
  await visit(provider, { 'patient-1': patient });
  await provider.sees('patient-1');
  await patient.sees('provider-1');
  const close = () => Promise.all([provider, patient].map(({ context }) => context.close()));
  return { link, provider, patient, close };
}
