import { Emitter } from './emitter.js';
import { Publisher } from './publisher.js';
import { Subscriber } from './subscriber.js';

/**
 * One leg: the pair of peer connections to one SFU.
 *
 * @typedef {import('./protocol.js').Source} Source
 * @typedef {{ connected: void, failed: void, tracks: void }} LegEvents
 *
 * @extends {Emitter<LegEvents>}
 */
export class Leg extends Emitter {
  /**
   * @param {import('./protocol.js').Route} route
   * @param {RTCConfiguration} config
   * @param {(message: import('./protocol.js').ClientMessage) => boolean} send
   * @param {{ region: string, sfu: string }} server where the leg ends
   * @param {import('./e2ee.js').Shield | null} [shield] of an end-to-end encrypted visit
   * @param {import('./scalable.js').ScalableCodec} [codec] of the camera, '' for simulcast
   */
  constructor(route, config, send, server, shield = null, codec = '') {
    super();
    this.route = route;
    this.server = server;
    this.send = send;
    this.closed = false;
    this.shown = '';
    this.publisher = new Publisher(route, config, send, () => this.#changed(), shield, codec);
    this.subscriber = new Subscriber(route, config, send, () => {
      this.emit('tracks', undefined);
      this.#changed();
    }, shield);
  }

  /** Whether everything that was started is connected, and something was. */
  get connected() {
    const started = this.#started();
    return started.length > 0 && started.every((pc) => pc.connectionState === 'connected');
  }

  /** Whether what was started has lost its path to the server. */
  get disconnected() {
    const started = this.#started();
    return started.length > 0 && started.every((pc) => ['disconnected', 'failed'].includes(pc.iceConnectionState));
  }

  get remote() {
    return this.subscriber.remote;
  }

  get selected() {
    return this.subscriber.selected;
  }

  /**
   * Publishes what the local media is now.
   *
   * @param {import('./media.js').LocalMedia} media
   * @param {Source[]} allowed what this role may send
   */
  async publish(media, allowed) {
    this.state(media);
    await this.publisher.setTracks(allowed.map((source) => [source, media.tracks[source]]));
  }

  /** @param {import('./media.js').LocalMedia} media */
  state(media) {
    this.send({ type: 'media-state', ...this.route, ...media.sending() });
  }

  /**
   * @param {import('./protocol.js').Offer | import('./protocol.js').Answer | import('./protocol.js').Candidate
   *   | import('./protocol.js').Layers | import('./protocol.js').Codec | import('./protocol.js').Tracks} message
   */
  async receive(message) {
    if (this.closed) return;
    if (message.type === 'offer' && message.pc === 'subscribe') await this.subscriber.offer(message);
    else if (message.type === 'answer' && message.pc === 'publish') await this.publisher.answer(message);
    else if (message.type === 'tracks') await this.subscriber.tracks(message);
    else if (message.type === 'layers') await this.publisher.layers(message);
    else if (message.type === 'codec') await this.publisher.sendAs(message);
    else if (message.type === 'candidate') await this.#side(message.pc).candidate(message);
  }

  /**
   * Says how the videos are shown, if that is news to this leg.
   *
   * @param {import('./protocol.js').ShownTile[]} tiles
   */
  show(tiles) {
    const text = JSON.stringify(tiles);
    if (text === this.shown || this.closed) return;
    if (this.send({ type: 'view', ...this.route, tiles })) this.shown = text;
  }

  /** Says again what may have been lost with the socket. */
  resume() {
    this.publisher.resume();
    this.subscriber.resume();
  }

  /** Looks for new paths to the server, for when the network has changed. Tracks stay as they are. */
  async restartICE() {
    if (this.closed) return;
    this.subscriber.restartICE();
    await this.publisher.restartICE();
  }

  close() {
    if (this.closed) return;
    this.closed = true;
    this.publisher.close();
    this.subscriber.close();
  }

  /** @param {import('./protocol.js').PeerConnectionName} pc */
  #side(pc) {
    return pc === 'publish' ? this.publisher : this.subscriber;
  }

  #started() {
    return [this.publisher, this.subscriber].filter((side) => side.started).map((side) => side.pc);
  }

  #changed() {
    if (this.closed) return;
    if (this.#started().some((pc) => pc.connectionState === 'failed')) this.emit('failed', undefined);
    else if (this.connected) this.emit('connected', undefined);
  }
}
