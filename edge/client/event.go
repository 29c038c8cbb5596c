package client

import "time"

// Kind says what an Event tells.
type Kind string

// Kinds of events, in the order a visit usually has them.
const (
	Connecting Kind = "connecting" // a gateway is tried
	Joined     Kind = "joined"     // a gateway took the participant in
	Admitted   Kind = "admitted"   // the waiting room is over
	Placed     Kind = "placed"     // a leg on an SFU is to be opened
	Media      Kind = "media"      // the first packet of somebody's source on a leg
	Gap        Kind = "gap"        // somebody's audio is back after more than minGap
	Silent     Kind = "silent"     // nothing of somebody's audio came for silentAfter
	Stats      Kind = "stats"      // once a second for each participant who is heard
	Lost       Kind = "lost"       // the gateway is lost, or could not be reached
	Bye        Kind = "bye"        // the gateway ended the session
	Refused    Kind = "error"      // the gateway refused a message
	Ended      Kind = "ended"      // the last event of a participant who had joined
)

// Event is one thing that happened to a participant. Its JSON is the contract with whoever runs participants as
// processes: members are only ever added, and one that is absent has its zero value. Participants are named by
// their opaque ids; tokens and names are in no event.
type Event struct {
	// T is when it happened, on the participant's clock, in UTC.
	T    time.Time `json:"t"`
	Kind Kind      `json:"event"`

	// Gateway is a base URL. connecting, joined, lost.
	Gateway string `json:"gateway,omitempty"`
	// GatewayID is the gateway's id, where the gateway tells it. joined.
	GatewayID string `json:"gateway_id,omitempty"`
	// Session, Resumed and State are those of the welcome; Participant is who joined. joined.
	Session     string `json:"session,omitempty"`
	Participant string `json:"participant,omitempty"`
	Resumed     bool   `json:"resumed,omitempty"`
	State       string `json:"state,omitempty"`
	// Error is one of the Loss constants. lost.
	Error string `json:"error,omitempty"`

	// SFU, Region, Epoch, Leg, Reason and Abrupt are those of the placement. placed; media and stats have Leg.
	SFU    string `json:"sfu,omitempty"`
	Region string `json:"region,omitempty"`
	Epoch  uint64 `json:"epoch,omitempty"`
	Leg    uint32 `json:"leg,omitempty"`
	Reason string `json:"reason,omitempty"`
	Abrupt bool   `json:"abrupt,omitempty"`

	// From is the participant whose media it is about, Source is what of it. media; gap, silent and stats have From.
	From   string `json:"from,omitempty"`
	Source string `json:"source,omitempty"`
	// Start and End are the packets around a gap, Ms is the time between them in milliseconds. gap.
	Start time.Time `json:"start,omitzero"`
	End   time.Time `json:"end,omitzero"`
	Ms    float64   `json:"ms,omitempty"`
	// Since is when the last packet came. silent.
	Since time.Time `json:"since,omitzero"`

	// Packets and VideoPackets are what came of audio and of all video since the last stats; LongestGapMs is the
	// longest time without audio in that time, one that goes on included and counted from its beginning. stats.
	Packets      int     `json:"packets,omitempty"`
	VideoPackets int     `json:"video_packets,omitempty"`
	LongestGapMs float64 `json:"longest_gap_ms,omitempty"`
	// Path is "host" or "relay", Relay the address the relay sends from, RTTMs the round-trip time to the SFU in
	// milliseconds, of the newest leg. stats.
	Path  string  `json:"path,omitempty"`
	Relay string  `json:"relay,omitempty"`
	RTTMs float64 `json:"rtt_ms,omitempty"`
	// StallMs is how late the participant's own beat was at worst, of 20 ms or, if it sends nothing, of 50 ms: that much of a
	// gap is due to a busy machine. stats.
	StallMs float64 `json:"stall_ms,omitempty"`

	// Code is that of the protocol. bye, error, ended.
	Code string `json:"code,omitempty"`
}

// Values of Event.Error: why a gateway is lost.
const (
	LossTimeout     = "timeout"     // it did not answer in time
	LossUnreachable = "unreachable" // no connection could be made
	LossClosed      = "closed"      // it closed the connection, or the connection broke
	LossSilence     = "silence"     // it answered no ping
	LossRefused     = "refused"     // it refused the join for now
	LossBye         = "bye"         // it asked to come back, elsewhere if possible
	LossMedia       = "media"       // the session was given up because its media did not come back
)

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
