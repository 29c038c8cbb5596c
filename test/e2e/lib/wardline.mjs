// Starts Wardline as a user would, from its binary, and stops it again.
import { spawn, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import https from 'node:https';
import net from 'node:net';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const binary = process.env.WARDLINE_BIN || join(tmpdir(), `wardline-e2e-${process.getuid()}`, 'wardline');

/** The environment without what somebody exported for wardline: its flags have twins there. */
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('WARDLINE_')));

/** Builds the binary unless WARDLINE_BIN names one. */
export function build() {
  if (!process.env.WARDLINE_BIN) {
    execFileSync('go', ['build', '-o', binary, './cmd/wardline'], { cwd: root, stdio: 'inherit' });
  }
  if (!existsSync(binary)) throw new Error(`no wardline binary at ${binary}`);
}

/** What each test has started: it ends before the test's folder goes, or it would write into it. */
const started = new WeakMap();

/** A folder that goes away with the test. */
export function dataFolder(t) {
  const folder = mkdtempSync(join(tmpdir(), 'wardline-data-'));
  t.after(async () => {
    await Promise.all((started.get(t) ?? []).map((component) => component.stop('SIGKILL')));
    rmSync(folder, { recursive: true, force: true });
  });
  return folder;
}

/** Waits until probe() returns something truthy and returns it. */
export async function until(what, probe, timeoutMs = 15_000) {
  const end = performance.now() + timeoutMs;
  let last;
  for (;;) {
    try {
      // A page that hangs must not hang the test.
      const value = await within(Math.max(end - performance.now(), 1000), probe());
      if (value) return value;
      last = value;
    } catch (error) {
      last = error;
    }
    if (performance.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms (last: ${last})`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** The value of a promise, or an error if it takes longer. */
function within(timeoutMs, promise) {
  let timer;
  const late = new Promise((_, reject) => { timer = setTimeout(() => reject(new Error('no answer')), timeoutMs); });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** A running component. */
class Component {
  constructor(name, args) {
    this.name = name;
    this.lines = [];
    this.log = [];
    this.process = spawn(binary, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    this.exited = new Promise((resolve) => this.process.once('exit', (code, signal) => resolve({ code, signal })));
    createInterface({ input: this.process.stdout }).on('line', (line) => this.lines.push(line));
    createInterface({ input: this.process.stderr }).on('line', (line) => this.log.push(line));
  }

  kill(signal) {
    this.process.kill(signal);
  }

  running() {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Stops it with the given signal and returns how it ended and how long that took. */
  async stop(signal = 'SIGINT') {
    const begin = performance.now();
    if (this.running()) {
      this.process.kill('SIGCONT');
      this.process.kill(signal);
    }
    const ended = await this.exited;
    return { ...ended, ms: performance.now() - begin };
  }
}

/** Starts a component; what it logged is shown if the test fails. */
export function start(t, name, args) {
  const component = new Component(name, args);
  started.set(t, [...(started.get(t) ?? []), component]);
  t.after(async () => {
    await component.stop('SIGKILL');
    if (process.env.WARDLINE_E2E_LOGS) console.error(`--- ${name}\n${component.log.join('\n')}`);
  });
  return component;
}

/** Runs a command to its end and returns what it printed. */
export function run(...args) {
  return execFileSync(binary, args, { env, encoding: 'utf8' }).trim();
}

/** A TCP port nobody listens on, for servers that have to come back on the same one. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Starts `wardline dev` on free ports and returns it with its links. */
export async function startDev(t, ...extra) {
  const data = dataFolder(t);
  const dev = start(t, 'dev', [
    'dev', '--data', data, '--http', '127.0.0.1:0', '--media', '127.0.0.1:0', '--turn', '127.0.0.1:0',
    '--admin', '127.0.0.1:0', '--log-level', 'info', ...extra,
  ]);
  const begin = performance.now();
  await until('dev prints links', () => {
    if (!dev.running()) throw new Error(`dev ended: ${dev.log.join('\n')}`);
    return dev.lines.some((line) => line.includes('Ctrl-C'));
  });
  const link = (role) => dev.lines.find((line) => line.trim().startsWith(role)).trim().split(/\s+/)[1];
  dev.data = data;
  dev.readyMs = performance.now() - begin;
  dev.links = { provider: link('provider'), patient: link('patient') };
  dev.url = new URL(dev.links.provider).origin;
  dev.encounter = dev.lines.join('\n').match(/--encounter (\S+)/)[1];
  dev.link = (role, participant, name) => mintLink(data, dev.encounter, role, participant, name);
  return dev;
}

/** Creates an encounter as the dev tenant does, and returns what POST /v1/encounters answered. */
export function createEncounter(dev, body) {
  const token = run('token', 'api', '--data', dev.data);
  return new Promise((resolve, reject) => {
    const request = https.request(`${dev.url}/v1/encounters`, {
      method: 'POST', rejectUnauthorized: false, // its certificate is its own
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    }, async (response) => {
      const answer = JSON.parse(Buffer.concat(await response.toArray()).toString());
      if (response.statusCode === 201) resolve(answer);
      else reject(new Error(`${response.statusCode} ${answer.code}: ${answer.detail}`));
    });
    request.once('error', reject);
    request.end(JSON.stringify(body));
  });
}

/** Mints a join link beside a running gateway, or for the one with the given base URL. */
export function mintLink(data, encounter, role, participant, name = '', url = '') {
  return run('token', '--data', data, '--encounter', encounter, '--role', role, '--participant', participant,
    '--name', name, '--format', 'link', ...(url ? ['--url', url] : []));
}

/** Waits until a port is listened on. */
function answers(port) {
  return until(`port ${port} answers`, () => new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
    socket.once('error', reject);
  }));
}

/** Starts two regions of one gateway and one media server each, every one a process of its own. */
export async function startRegions(t) {
  const data = dataFolder(t);
  const world = { data, encounter: 'visit-1', gateways: {}, sfus: {}, urls: {} };
  for (const region of ['east', 'west']) {
    const common = ['--data', data, '--log-level', 'info', '--region', region, '--node', region];
    const port = await freePort();
    const sfu = `sfu-${region}`;
    world.sfus[sfu] = start(t, sfu, ['sfu', ...common, '--id', sfu, '--media', '127.0.0.1:0']);
    world.gateways[region] = start(t, `gateway-${region}`, ['gateway', ...common, '--id', `gateway-${region}`, '--http', `127.0.0.1:${port}`]);
    world.urls[region] = `https://127.0.0.1:${port}`;
    await answers(port);
  }
  const all = [...Object.values(world.sfus), ...Object.values(world.gateways)];
  await until('all serve', () => all.every(({ log }) => log.some((line) => line.includes('serving'))));
  world.link = (region, role, participant) => mintLink(data, world.encounter, role, participant, '', world.urls[region]);
  return world;
}

/** Starts each component as a process of its own, so that each can be killed or paused alone. */
export async function startProcesses(t, data = dataFolder(t)) {
  const world = { data, http: await freePort(), turnPort: await freePort(), encounter: 'visit-1', sfus: {} };
  const common = ['--data', data, '--log-level', 'info'];
  world.startGateway = async (id) => {
    world.gateway = start(t, id, ['gateway', ...common, '--id', id, '--http', `127.0.0.1:${world.http}`]);
    await answers(world.http);
  };
  for (const id of ['sfu-1', 'sfu-2']) {
    world.sfus[id] = start(t, id, ['sfu', ...common, '--id', id, '--media', '127.0.0.1:0']);
  }
  world.startTurn = () => {
    world.turn = start(t, 'turn-1', ['turn', ...common, '--turn', `127.0.0.1:${world.turnPort}`, '--turn-tls', '127.0.0.1:0']);
  };
  world.startTurn();
  await until('media servers serve', () => Object.values(world.sfus).every((sfu) => sfu.log.some((line) => line.includes('serving'))));
  await world.startGateway('gateway-1');
  world.url = `https://127.0.0.1:${world.http}`;
  world.link = (role, participant, name) => mintLink(data, world.encounter, role, participant, name);
  return world;
}
