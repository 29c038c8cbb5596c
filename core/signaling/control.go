package signaling

import (
	"encoding/json"
	"fmt"
)

// Control channel timing. One WebSocket over mutual TLS joins a gateway to an SFU or a relay and carries all
// that concerns the two.
const (
	// HeartbeatEveryMs is the longest silence an SFU or a relay allows itself, in milliseconds.
	HeartbeatEveryMs = 250
	// SilenceMs is the silence after which it counts as lost, in milliseconds.
	SilenceMs = 1000
	// GatewayHeartbeatEveryMs is the longest silence of a gateway, in milliseconds. Nobody is in a hurry to miss one, since media goes on
	// and its clients find another by themselves; and each heartbeat wakes the other side up.
	GatewayHeartbeatEveryMs = 1000
	// GatewaySilenceMs is the silence after which it counts as lost, in milliseconds.
	GatewaySilenceMs = 4000
	// OrphanMs is how long an SFU keeps a browser session whose gateway is lost, in milliseconds.
	OrphanMs = 30_000
)

// MaxFrameBytes bounds one encoded frame: a message and its address.
const MaxFrameBytes = MaxMessageBytes + 1<<10

// Frame is one message on the control channel, addressed to a session or, with none, to the peer itself.
type Frame struct {
	Session string
	Message Message
}

type wireFrame struct {
	Session string          `json:"session,omitempty"`
	Message json.RawMessage `json:"message"`
}

// EncodeFrame renders a frame; ErrTooLarge as for Encode.
func EncodeFrame(f Frame) ([]byte, error) {
	body, err := Encode(f.Message)
	if err != nil {
		return nil, err
	}
	return marshal(wireFrame{Session: f.Session, Message: body})
}

// DecodeFrame parses and validates a frame.
func DecodeFrame(data []byte) (Frame, error) {
	if len(data) > MaxFrameBytes {
		return Frame{}, fmt.Errorf("%w: frame of %d bytes, at most %d", ErrTooLarge, len(data), MaxFrameBytes)
	}
	var wire wireFrame
	if err := json.Unmarshal(data, &wire); err != nil {
		return Frame{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if err := checkOptionalID("session", wire.Session); err != nil {
		return Frame{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	message, err := Decode(wire.Message)
	if err != nil {
		return Frame{}, err
	}
	return Frame{Session: wire.Session, Message: message}, nil
}

// SessionKind is how a session's media is signaled.
type SessionKind string

// Kinds of session. A browser session has both peer connections, WHIP only publishes, WHEP only subscribes.
const (
	BrowserSession SessionKind = "browser"
	WHIPSession    SessionKind = "whip"
	WHEPSession    SessionKind = "whep"
)

// Hello is the first frame each side sends.
type Hello struct {
	// ID is the sender's service id, Version its build.
	ID      string `json:"id"`
	Version string `json:"version"`
}

// Heartbeat keeps a channel alive. An SFU's says how busy it is, so it is sent also while there is much
// else to say.
type Heartbeat struct {
	// Load is an SFU's participants as a share of its capacity: 0 is idle, above 1 is beyond it. Gateways send 0.
	Load float64 `json:"load,omitempty"`
}

// Draining tells gateways that an SFU takes no new encounters and wants those it has moved, or a relay no new
// allocations; or that it no longer does. It follows hello on a channel that comes up while the sender drains.
type Draining struct {
	On bool `json:"on"`
}

// EncounterRef names an encounter across tenants.
type EncounterRef struct {
	Tenant    string `json:"tenant"`
	Encounter string `json:"encounter"`
}

// Reserve asks an SFU to host an encounter under an epoch before the placement is written. The reply
// is the same Reserve, or Refused. A reservation nobody attaches to lapses after 30 s.
type Reserve struct {
	EncounterRef
	Epoch uint64 `json:"epoch"`
}

// Attach opens a leg of a session on an SFU, or takes over an existing one after a gateway or socket
// was lost. The reply is Attached or Refused.
type Attach struct {
	Route
	EncounterRef
	Participant string      `json:"participant"`
	Kind        SessionKind `json:"kind"`
	// CanPublish lists the sources this role may send, CanSubscribe whether it may receive.
	CanPublish   []Source `json:"can_publish,omitempty"`
	CanSubscribe bool     `json:"can_subscribe"`
	// Target is the participant a WHEP session wants; empty means the active speaker.
	Target string `json:"target,omitempty"`
	// TraceID follows one session through the logs of all components.
	TraceID string `json:"trace_id,omitempty"`
}

// Attached accepts an Attach.
type Attached struct {
	Route
	// Resumed says that the leg existed: its peer connections are untouched.
	Resumed bool `json:"resumed"`
}

// Reasons an SFU refuses, all worth trying the next SFU but the last two.
const (
	RefusedBusy     = "busy"        // at its configured capacity
	RefusedDraining = "draining"    // takes no new encounters
	RefusedStale    = "stale-epoch" // it has seen a higher epoch of this encounter
	RefusedInvalid  = "invalid"     // the request made no sense
)

// Refused declines a Reserve, Attach, Offer or Restart.
type Refused struct {
	Route
	EncounterRef
	Code    string `json:"code"`
	Message string `json:"message"`
	// About is the type of the refused message.
	About string `json:"about"`
}

// Detach tells an SFU that a leg is over and its peer connections are to close now.
type Detach struct {
	Route
}

// Gone tells every gateway that a leg ended on the SFU by itself.
type Gone struct {
	Route
	EncounterRef
	Participant string      `json:"participant"`
	Kind        SessionKind `json:"kind"`
	// Reason is "ice-failed", "orphaned", "removed", "ended" or "shutdown".
	Reason string `json:"reason"`
}

// Membership is who may exchange media in an encounter. Whoever watches the record sends it; a lower
// Revision than one already seen is ignored, so that several gateways can say it without order.
type Membership struct {
	EncounterRef
	Epoch    uint64 `json:"epoch"`
	Revision uint64 `json:"revision"`
	// Admitted participants exchange media; Waiting ones keep their peer connections (WHIP, WHEP) but
	// nothing flows; everybody else's legs are closed.
	Admitted []string `json:"admitted"`
	Waiting  []string `json:"waiting"`
	Ended    bool     `json:"ended,omitempty"`
}

// Restart carries a WHIP or WHEP client's ICE restart: an SDP fragment (RFC 8840) with new credentials.
type Restart struct {
	Route
	PC       PeerConnection `json:"pc"`
	Fragment string         `json:"fragment"`
}

// Restarted answers Restart with the SFU's own new credentials and candidates as an SDP fragment.
type Restarted struct {
	Route
	PC       PeerConnection `json:"pc"`
	Fragment string         `json:"fragment"`
}

// Limits of messages between gateways and relays.
const (
	// MaxRevocations bounds the credentials of one Revoke.
	MaxRevocations = 256
	// MaxAllowed bounds the addresses of one Allow.
	MaxAllowed = 64
)

// Revocation ends the use of TURN credentials.
type Revocation struct {
	// Credential is the id of a TURN REST username, or a beginning of it that ends before a dot: all that begin so.
	Credential string `json:"credential"`
	// Until is when the last of them has expired, in Unix seconds; the relay may forget the revocation then.
	Until int64 `json:"until"`
}

// Revoke tells a relay to end the allocations made with credentials and to take no new ones. It can be said again
// and by several gateways; the later Until counts. The reply is Revoked.
type Revoke struct {
	Revocations []Revocation `json:"revocations"`
}

// Revoked says which credentials are good no more.
type Revoked struct {
	Credentials []string `json:"credentials"`
	// Ended is how many allocations that ended.
	Ended int `json:"ended"`
}

// Allow announces media addresses of SFUs to a relay, which may not have heard of them yet. The reply is Allowed.
type Allow struct {
	// Addresses are IP:PORT.
	Addresses []string `json:"addresses"`
}

// Allowed says which of the announced addresses the relay forwards to now; it does not to those left out.
type Allowed struct {
	Addresses []string `json:"addresses"`
}

// Type implements Message.
func (Hello) Type() string      { return "hello" }
func (Heartbeat) Type() string  { return "heartbeat" }
func (Draining) Type() string   { return "draining" }
func (Reserve) Type() string    { return "reserve" }
func (Attach) Type() string     { return "attach" }
func (Attached) Type() string   { return "attached" }
func (Refused) Type() string    { return "refused" }
func (Detach) Type() string     { return "detach" }
func (Gone) Type() string       { return "gone" }
func (Membership) Type() string { return "membership" }
func (Restart) Type() string    { return "restart" }
func (Restarted) Type() string  { return "restarted" }
func (Revoke) Type() string     { return "revoke" }
func (Revoked) Type() string    { return "revoked" }
func (Allow) Type() string      { return "allow" }
func (Allowed) Type() string    { return "allowed" }
