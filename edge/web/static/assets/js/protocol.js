/**
 * The messages of docs/protocol.md as JSDoc types. Nothing here runs but the constants.
 *
 * @typedef {'microphone' | 'camera' | 'screen'} Source
 * @typedef {'publish' | 'subscribe'} PeerConnectionName
 * @typedef {{ leg: number, epoch: number }} Route
 * @typedef {{ mid: string, source: Source, participant?: string }} Track
 *
 * @typedef {{ type: 'join', token: string, resume?: string, rtt?: Record<string, number>, leg?: number }} Join
 * @typedef {{ type: 'ping', id: number }} Ping
 * @typedef {{ type: 'admit', participant: string }} Admit
 * @typedef {{ type: 'remove', participant: string }} Remove
 * @typedef {{ type: 'mute-request', participant: string, source: Source, by?: string }} MuteRequest
 * @typedef {{ type: 'public-key', key: string }} PublicKey
 * @typedef {{ type: 'sender-key', participant: string, by?: string, data: string }} SenderKey
 * @typedef {{ type: 'lock', locked: boolean }} Lock
 * @typedef {{ type: 'end' }} End
 * @typedef {{ type: 'leave' }} Leave
 * @typedef {{ type: 'leg-ready' } & Route} LegReady
 *
 * @typedef {object} TrackStats
 * @property {string} [participant]
 * @property {Source} source
 * @property {string} [codec]
 * @property {number} [bitrate_bps]
 * @property {number} [jitter_ms]
 * @property {number} [loss]           share lost since the last report, 0 to 1
 * @property {number} [fps]
 * @property {number} [width]
 * @property {number} [height]
 * @property {number} [freezes]
 * @property {number} [freeze_ms]
 * @property {number} [frames_decoded]
 * @property {number} [concealed]      share of samples made up since the last report, 0 to 1
 *
 * @typedef {{ type: 'stats', ice_state: string, path?: string, rtt_ms?: number,
 *   send?: TrackStats[], receive?: TrackStats[] } & Route} Stats
 *
 * @typedef {{ urls: string[], username?: string, credential?: string }} ICEServer
 * @typedef {{ id: string, region: string, url: string }} Gateway
 * @typedef {{ participant: string, role: string, name?: string, encounter: string, permissions: string[] | null }} Self
 * @typedef {{ type: 'welcome', session: string, resumed: boolean, you: Self, state: 'waiting' | 'admitted',
 *   ping_ms: number, resume_ms: number, e2ee?: boolean, ice_servers: ICEServer[] | null, gateways?: Gateway[] | null }} Welcome
 * @typedef {{ type: 'gateways', gateways: Gateway[] | null }} GatewaysMessage
 * @typedef {{ participant: string, role: string, name?: string, state: 'waiting' | 'admitted', connected: boolean, key?: string }} Member
 * @typedef {{ type: 'roster', revision: number, locked: boolean, members: Member[] | null }} Roster
 * @typedef {{ type: 'placed', region: string, sfu: string, ice_servers: ICEServer[] | null, reason: string, abrupt?: boolean } & Route} Placed
 * @typedef {{ type: 'bye', code: string, retry: boolean }} Bye
 * @typedef {{ type: 'error', code: string, message: string, about?: string }} ErrorMessage
 * @typedef {{ type: 'pong', id: number }} Pong
 *
 * @typedef {{ type: 'offer', pc: PeerConnectionName, negotiation: number, sdp: string, tracks?: Track[] | null } & Route} Offer
 * @typedef {{ type: 'restart-ice', negotiation: number } & Route} RestartICE
 * @typedef {{ type: 'answer', pc: PeerConnectionName, negotiation: number, sdp: string } & Route} Answer
 * @typedef {{ type: 'candidate', pc: PeerConnectionName, candidate: string, mid?: string } & Route} Candidate
 * @typedef {{ type: 'media-state', audio: boolean, video: boolean, screen: boolean } & Route} MediaState
 * @typedef {{ participant: string, audio: boolean, video: boolean, screen: boolean }} Peer
 * @typedef {{ type: 'peers', peers: Peer[] | null, partial?: boolean, gone?: string[] } & Route} Peers
 * @typedef {{ type: 'tracks', tracks: Track[] | null } & Route} Tracks
 * @typedef {{ type: 'speaker', participant: string } & Route} Speaker
 * @typedef {{ participant: string, source: Source, width: number, height: number, pinned?: boolean }} ShownTile
 * @typedef {{ type: 'view', tiles: ShownTile[] } & Route} View
 * @typedef {{ type: 'layers', source: Source, active: string[] | null } & Route} Layers
 * @typedef {{ type: 'codec', source: Source, name: string } & Route} Codec
 * @typedef {{ type: 'paused', tracks: Track[] | null } & Route} Paused
 *
 * @typedef {Join | Ping | Admit | Remove | MuteRequest | PublicKey | SenderKey | Lock | End | Leave | LegReady | Stats
 *   | Offer | Answer | Candidate | RestartICE | MediaState | View} ClientMessage
 * @typedef {Welcome | GatewaysMessage | Roster | Placed | MuteRequest | SenderKey | Bye | ErrorMessage | Pong
 *   | Offer | Answer | Candidate | Peers | Tracks | Speaker | Paused | Layers | Codec} ServerMessage
 *
 * @typedef {{ [K in ServerMessage['type']]: Extract<ServerMessage, { type: K }> }} ServerEvents
 */

/** The WebSocket subprotocol of this version. */
export const SUBPROTOCOL = 'wardline.v1';

/** Where the gateway that served this page takes signaling. */
export const SIGNAL_PATH = '/v1/signal';

/** Candidates a peer connection may trickle. */
export const MAX_CANDIDATES = 64;

/** How long nothing may come after a ping before the socket counts as lost, in milliseconds. */
export const PONG_TIMEOUT_MS = 2000;
/** The same when there is a reason to believe that it is. */
export const CHECK_TIMEOUT_MS = 1000;
