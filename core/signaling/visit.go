package signaling

// Join is a client's first message and the only one that carries the join token.
type Join struct {
	Token string `json:"token"`
	// Resume is the session of an earlier Welcome; within 30 s of losing its socket a client that
	// repeats it continues as if nothing had happened.
	Resume string `json:"resume,omitempty"`
	// RTT is the client's measured round-trip time to each region in milliseconds.
	RTT map[string]float64 `json:"rtt,omitempty"`
	// Leg is the newest leg of the session to resume, 0 if it has none: another gateway goes on from there.
	Leg uint32 `json:"leg,omitempty"`
}

// Ping asks for a Pong with the same ID; a client that hears nothing for 2 s after one reconnects.
type Ping struct {
	ID uint32 `json:"id"`
}

// Pong answers Ping.
type Pong struct {
	ID uint32 `json:"id"`
}

// Admit lets a waiting participant in.
type Admit struct {
	Participant string `json:"participant"`
}

// Remove ends one participant's part in the encounter; their token no longer joins it.
type Remove struct {
	Participant string `json:"participant"`
}

// MuteRequest asks a participant to stop sending a source; their client shows who asked and decides.
type MuteRequest struct {
	Participant string `json:"participant"`
	Source      Source `json:"source"`
	// By is the asking participant, filled in by the gateway.
	By string `json:"by,omitempty"`
}

// PublicKey announces the key that others seal their media keys to, in an end-to-end encrypted encounter: one a
// session, and it cannot be changed. The roster carries it to the others.
type PublicKey struct {
	// Key is a point on P-256, uncompressed (SEC 1, section 2.3.3), in base64url without padding.
	Key string `json:"key"`
}

// SenderKey carries a media key, or the receipt of one, from one participant to another. It is sealed for the one it is
// for: whoever passes it on can neither read nor change it.
type SenderKey struct {
	Participant string `json:"participant"`
	// By is the participant it comes from, filled in by the gateway.
	By string `json:"by,omitempty"`
	// Data is what was sealed, 1 to MaxSealedBytes bytes, in base64url without padding.
	Data string `json:"data"`
}

// MaxSealedBytes bounds what a SenderKey carries: a media key has 64 bytes.
const MaxSealedBytes = 192

// Lock stops or allows new participants; those known to the encounter may still come back.
type Lock struct {
	Locked bool `json:"locked"`
}

// End ends the encounter for everybody.
type End struct{}

// Leave ends the sender's session at once, without the grace of a lost connection.
type Leave struct{}

// LegReady says that media flows on a leg, so that older legs can be closed.
type LegReady struct {
	Route
}

// Stats is a client's report about one leg, sent every 5 s. Members a browser cannot measure are absent.
type Stats struct {
	Route
	// ICEState is the RTCIceConnectionState of the subscribing peer connection.
	ICEState string `json:"ice_state"`
	// Path is how media travels: "udp", "tcp", "relay-udp", "relay-tcp" or "relay-tls".
	Path string `json:"path,omitempty"`
	// RTTMs is the round-trip time of the nominated candidate pair in milliseconds.
	RTTMs *float64 `json:"rtt_ms,omitempty"`
	// Send describes the client's own camera, Receive each track it gets.
	Send    []TrackStats `json:"send,omitempty"`
	Receive []TrackStats `json:"receive,omitempty"`
}

// TrackStats is one track in a Stats report. Counters are totals since the track started.
type TrackStats struct {
	Participant string   `json:"participant,omitempty"`
	Source      Source   `json:"source"`
	Codec       string   `json:"codec,omitempty"`
	BitrateBps  *float64 `json:"bitrate_bps,omitempty"`
	JitterMs    *float64 `json:"jitter_ms,omitempty"`
	// Loss is the share of packets lost since the last report, 0 to 1.
	Loss          *float64 `json:"loss,omitempty"`
	FPS           *float64 `json:"fps,omitempty"`
	Width         int      `json:"width,omitempty"`
	Height        int      `json:"height,omitempty"`
	Freezes       *float64 `json:"freezes,omitempty"`
	FreezeMs      *float64 `json:"freeze_ms,omitempty"`
	FramesDecoded *float64 `json:"frames_decoded,omitempty"`
	// Concealed is the share of audio samples made up by the decoder since the last report, 0 to 1.
	Concealed *float64 `json:"concealed,omitempty"`
}

// ICEServer is one RTCIceServer entry.
type ICEServer struct {
	URLs       []string `json:"urls"`
	Username   string   `json:"username,omitempty"`
	Credential string   `json:"credential,omitempty"`
}

// Self is what the token says about the client that presented it.
type Self struct {
	Participant string `json:"participant"`
	Role        string `json:"role"`
	Name        string `json:"name,omitempty"`
	Encounter   string `json:"encounter"`
	// Permissions are the actions of the role (access.Action), for the page to offer; the gateway enforces.
	Permissions []string `json:"permissions"`
}

// Welcome is the answer to a Join that was accepted.
type Welcome struct {
	Session string `json:"session"`
	// Resumed says that the session continues: legs stay as they are.
	Resumed bool `json:"resumed"`
	You     Self `json:"you"`
	// State is "waiting" or "admitted".
	State string `json:"state"`
	// PingMs is how often the client should ping, ResumeMs for how long a lost session can be resumed.
	PingMs   int `json:"ping_ms"`
	ResumeMs int `json:"resume_ms"`
	// E2EE says that the encounter's media is end-to-end encrypted: nothing is sent or shown in the clear, and no leg
	// opens before the client has sent its PublicKey.
	E2EE       bool        `json:"e2ee,omitempty"`
	ICEServers []ICEServer `json:"ice_servers"`
	// Gateways are where the session can be resumed if this gateway is lost: this one first, then the best next;
	// at most MaxGateways.
	Gateways []Gateway `json:"gateways,omitempty"`
}

// MaxGateways bounds the gateways that a client is told of.
const MaxGateways = 8

// Gateway is where a client can connect to.
type Gateway struct {
	ID     string `json:"id"`
	Region string `json:"region"`
	// URL is the base URL: scheme (https, or http on loopback), host and port, nothing else.
	URL string `json:"url"`
}

// Gateways replaces the list of the Welcome when the gateways in service change.
type Gateways struct {
	Gateways []Gateway `json:"gateways"`
}

// Member is one participant in a Roster.
type Member struct {
	Participant string `json:"participant"`
	Role        string `json:"role"`
	Name        string `json:"name,omitempty"`
	// State is "waiting" or "admitted".
	State string `json:"state"`
	// Connected is false while a participant's gateway or browser is out of reach.
	Connected bool `json:"connected"`
	// Key is the PublicKey of an end-to-end encrypted encounter, empty until it is announced.
	Key string `json:"key,omitempty"`
}

// Roster is everybody a client may know about, sent whenever it changes. Somebody who waits is told
// only about themselves.
type Roster struct {
	Revision uint64   `json:"revision"`
	Locked   bool     `json:"locked"`
	Members  []Member `json:"members"`
}

// Placed tells a client to open a leg on an SFU. When it already has a leg it opens the new one
// beside it, sends LegReady once media flows there and closes the old one.
type Placed struct {
	Route
	Region     string      `json:"region"`
	SFU        string      `json:"sfu"`
	ICEServers []ICEServer `json:"ice_servers"`
	// Reason is "admitted", "failover" or "move".
	Reason string `json:"reason"`
	// Abrupt says that the previous leg is dead already: the client need not wait to close it.
	Abrupt bool `json:"abrupt,omitempty"`
}

// Bye ends a session; the socket closes after it.
type Bye struct {
	// Code is one of the Bye* constants.
	Code string `json:"code"`
	// Retry says whether the client should reconnect by itself.
	Retry bool `json:"retry"`
}

// Reasons for a Bye.
const (
	ByeEnded    = "ended"    // a provider ended the encounter
	ByeRemoved  = "removed"  // a provider removed this participant
	ByeReplaced = "replaced" // the same participant joined again elsewhere
	ByeShutdown = "shutdown" // this gateway stops; another one, or its successor, takes over
	ByeLeft     = "left"     // the answer to Leave
	ByeSlow     = "slow"     // the client did not read its messages fast enough
)

// Error refuses one message; the session goes on unless a Bye follows or the socket closes.
type Error struct {
	// Code is stable and documented in docs/protocol.md, Message is for people.
	Code    string `json:"code"`
	Message string `json:"message"`
	// About is the type of the refused message.
	About string `json:"about,omitempty"`
}

// Type implements Message.
func (Join) Type() string        { return "join" }
func (Ping) Type() string        { return "ping" }
func (Pong) Type() string        { return "pong" }
func (Admit) Type() string       { return "admit" }
func (Remove) Type() string      { return "remove" }
func (MuteRequest) Type() string { return "mute-request" }
func (PublicKey) Type() string   { return "public-key" }
func (SenderKey) Type() string   { return "sender-key" }
func (Lock) Type() string        { return "lock" }
func (End) Type() string         { return "end" }
func (Leave) Type() string       { return "leave" }
func (LegReady) Type() string    { return "leg-ready" }
func (Stats) Type() string       { return "stats" }
func (Welcome) Type() string     { return "welcome" }
func (Gateways) Type() string    { return "gateways" }
func (Roster) Type() string      { return "roster" }
func (Placed) Type() string      { return "placed" }
func (Bye) Type() string         { return "bye" }
func (Error) Type() string       { return "error" }
