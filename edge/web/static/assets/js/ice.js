import { scalableCodec } from './scalable.js';

/**
 * Support staff can narrow the media path with the page's query: `?ice=relay` allows relays only,
 * `?turn=udp|tcp|tls` keeps one kind of relay; `?codec=vp9|av1` sends the camera as one scalable stream of that codec. None
 * says anything about a person.
 *
 * @typedef {import('./protocol.js').ICEServer} ICEServer
 * @typedef {{ relayOnly: boolean, turn: '' | 'udp' | 'tcp' | 'tls', codec: import('./scalable.js').ScalableCodec }} IceChoice
 */

/**
 * @param {string} search the query, with or without '?'
 * @returns {IceChoice}
 */
export function readChoice(search) {
  const query = new URLSearchParams(search);
  const turn = query.get('turn') ?? '';
  return {
    relayOnly: query.get('ice') === 'relay',
    turn: turn === 'udp' || turn === 'tcp' || turn === 'tls' ? turn : '',
    codec: scalableCodec(query.get('codec')),
  };
}

/**
 * @param {ICEServer[]} servers
 * @param {IceChoice} choice
 * @returns {RTCConfiguration}
 */
export function configuration(servers, choice) {
  return {
    iceServers: servers
      .map((server) => ({ ...server, urls: server.urls.filter((url) => wanted(url, choice)) }))
      .filter((server) => server.urls.length > 0),
    iceTransportPolicy: choice.relayOnly ? 'relay' : 'all',
    bundlePolicy: 'max-bundle',
    rtcpMuxPolicy: 'require',
  };
}

/**
 * @param {string} url
 * @param {IceChoice} choice
 */
function wanted(url, choice) {
  const kind = relayKind(url);
  return kind === '' || choice.turn === '' || choice.turn === kind;
}

/**
 * @param {string} url of RFC 7064 or RFC 7065
 * @returns {'' | 'udp' | 'tcp' | 'tls'} '' for a STUN server
 */
export function relayKind(url) {
  if (/^turns:/i.test(url)) return 'tls';
  if (!/^turn:/i.test(url)) return '';
  return /[?&]transport=tcp\b/i.test(url) ? 'tcp' : 'udp';
}
