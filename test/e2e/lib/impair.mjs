// Networks as patients have them: a media server behind test/impair.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import dgram from 'node:dgram';
import net from 'node:net';
import { startDev } from './wardline.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
const binary = join(tmpdir(), `wardline-e2e-${process.getuid()}`, 'impair');

/** Where media servers are, and where the proxy is, at the same ports. */
const [direct, impaired] = ['127.0.0.1', '127.0.0.2'];

/** Builds the proxy. */
export function buildImpair() {
  execFileSync('go', ['build', '-o', binary, './test/impair/cmd'], { cwd: root, stdio: 'inherit' });
}

/** Two UDP ports in a row that nobody has at either address. */
async function freePair() {
  for (;;) {
    const sockets = [];
    const bind = (port, host) => new Promise((resolve, reject) => {
      const socket = dgram.createSocket('udp4');
      sockets.push(socket);
      socket.once('error', reject);
      socket.bind(port, host, () => resolve(socket.address().port));
    });
    try {
      const port = await bind(0, direct);
      await Promise.all([bind(port + 1, direct), bind(port, impaired), bind(port + 1, impaired)]);
      return port;
    } catch { /* taken: another pair */ } finally {
      await Promise.all(sockets.map((socket) => new Promise((resolve) => { socket.close(resolve); })));
    }
  }
}

/** Starts `wardline dev` with a proxy beside each media server, and returns both. */
export async function startImpaired(t) {
  const port = await freePair();
  const both = [port, port + 1];
  const dev = await startDev(t, '--media', `${direct}:${port}`);
  const child = spawn(binary, both.flatMap((p) => ['--listen', `${impaired}:${p}`, '--to', `${direct}:${p}`]), { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(async () => {
    child.stdin.end();
    if (child.exitCode === null) await once(child, 'exit');
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error('the proxy ended');
    const said = JSON.parse(value);
    if (said.error) throw new Error(`the proxy says: ${said.error}`);
    return said;
  };
  await answer(); // it is ready
  const order = async (what) => {
    child.stdin.write(`${JSON.stringify(what)}\n`);
    return answer();
  };
  return {
    dev,
    /** Gives the network conditions: `up` towards the media server, `down` from it. */
    set: (conditions) => order(conditions),
    /** The network there was is gone: who was on it finds the media server from new ports only. */
    leave: () => order({ present: true, up: { outage: true }, down: { outage: true } }),
    /** Has the media server see everybody at other addresses, as address translation may at any time. */
    rebind: () => order({ rebind: true }),
    /** Lets TCP through, unimpaired. */
    passTCP: () => Promise.all(both.map((p) => passTCP(t, p))),
  };
}

/** Leads a person's media over the proxy: its page is told that media servers are there. */
export function overProxy({ context }) {
  return context.addInitScript(([from, to]) => {
    const Original = window.RTCPeerConnection;
    window.RTCPeerConnection = class extends Original {
      setRemoteDescription({ type, sdp }) {
        return super.setRemoteDescription({ type, sdp: sdp.replaceAll(` ${from} `, ` ${to} `) });
      }
    };
  }, [direct, impaired]);
}

/** Forwards TCP to a media server. */
async function passTCP(t, port) {
  const open = new Set();
  const server = net.createServer((client) => {
    const back = net.connect(port, direct);
    for (const [socket, other] of [[client, back], [back, client]]) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        open.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  server.listen(port, impaired);
  await once(server, 'listening');
  t.after(() => {
    open.forEach((socket) => socket.destroy());
    server.close();
  });
}

/** The protocols that a person's media uses: udp or tcp, after `relay-` through a relay. */
export function paths({ page }) {
  return page.evaluate(async () => {
    const found = new Set();
    for (const peer of window.peers) {
      if (peer.connectionState === 'closed') continue;
      const report = await peer.getStats();
      for (const entry of report.values()) {
        const pair = entry.type === 'transport' && report.get(entry.selectedCandidatePairId);
        if (!pair) continue;
        const { candidateType, protocol, relayProtocol } = report.get(pair.localCandidateId);
        found.add(candidateType === 'relay' ? `relay-${relayProtocol}` : protocol);
      }
    }
    return [...found];
  });
}
