package whip

import (
	"context"
	"errors"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// Errors a Sessions implementation wraps; the errors of package encounter are understood too.
var (
	// ErrNotFound says that there is no such session, or no longer.
	ErrNotFound = errors.New("session not found")
	// ErrBusy says that every media server asked is at its capacity: 503 "busy".
	ErrBusy = errors.New("media servers busy")
	// ErrNoServer says that no media server can be reached where policy allows: 503 "no-media-server".
	ErrNoServer = errors.New("no media server")
	// ErrInvalidSDP says that the media server cannot answer this offer or fragment: 422 "invalid".
	ErrInvalidSDP = errors.New("session description not acceptable")
	// ErrTooManyCandidates says that the session has had all the candidates it may have: 429 "rate-limited".
	ErrTooManyCandidates = errors.New("too many candidates")
)

// Opened is a session that a media server has answered.
type Opened struct {
	// ID is the session's id, unguessable and valid by signaling.ValidID.
	ID string
	// AnswerSDP is the complete answer: a media server is ICE-lite and lists all its candidates.
	AnswerSDP string
}

// Candidate is one trickled ICE candidate.
type Candidate struct {
	// MID is the media section's identification tag, empty if the fragment named none.
	MID string
	// Candidate is the attribute without "a=": "candidate:…". Empty means end of candidates.
	Candidate string
}

// Sessions is what the handler needs of the gateway: media sessions without a browser's socket.
//
// Open must have written the session into the encounter's record, under the grant's participant with
// kind encounter.WHIP or WHEP, before it returns: any gateway may get the client's next request.
type Sessions interface {
	// Open places the encounter if need be and has the offer answered. kind is WHIPSession or
	// WHEPSession; target is the participant a WHEP session receives, empty for the active speaker.
	Open(ctx context.Context, g access.Grant, kind signaling.SessionKind, target, offerSDP string) (Opened, error)
	// Trickle passes candidates on, in order.
	Trickle(ctx context.Context, key encounter.Key, participant, sessionID string, candidates []Candidate) error
	// Restart restarts ICE with the client's new credentials and returns the media server's fragment (RFC 8840).
	Restart(ctx context.Context, key encounter.Key, participant, sessionID, fragment string) (answerFragment string, err error)
	// Close ends a session.
	Close(ctx context.Context, key encounter.Key, participant, sessionID string) error
	// ICEServers returns the servers that a session may use, with time-limited credentials.
	ICEServers(key encounter.Key, participant, sessionID string) []signaling.ICEServer
}
