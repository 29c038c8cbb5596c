// Package problem is how the gateway says over HTTP that something went wrong: problem details
// (RFC 9457) with a stable code, the same codes that docs/protocol.md lists for the socket.
package problem

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// contentType is the media type of a problem.
const contentType = "application/problem+json"

// typeBase, followed by the code, makes a problem's type. It identifies and need not resolve.
const typeBase = "https://wardline.health/problems/"

// Codes of HTTP, most of which the socket has too; those of tokens are access.Code, those of encounters the text of encounter.Err*.
const (
	BadMessage           = "bad-message"
	TooLarge             = "too-large"
	Invalid              = "invalid"
	RateLimited          = "rate-limited"
	NotAllowed           = "not-allowed"
	NoMediaServer        = "no-media-server"
	Busy                 = "busy"
	Unavailable          = "unavailable"
	NotFound             = "not-found"
	MethodNotAllowed     = "method-not-allowed"
	NotAcceptable        = "not-acceptable"
	UnsupportedMedia     = "unsupported-media-type"
	PreconditionRequired = "precondition-required"
	PreconditionFailed   = "precondition-failed"
	EncounterExists      = "encounter-exists"
	IdempotencyReused    = "idempotency-key-reused"
	Internal             = "internal"
)

// Problem is one refusal or failure. Its texts never hold a token, a name or a cause's inner workings.
type Problem struct {
	// Status is the HTTP status, 400 to 599.
	Status int
	// Code is stable, for programs; Detail is for people.
	Code   string
	Detail string
	// Challenge is the WWW-Authenticate value of a 401 (RFC 6750).
	Challenge string
	// Allow lists the methods a 405 allows, comma-separated.
	Allow string
	// RetryAfter tells when trying again may help; zero says nothing. Sent in whole seconds, rounded up.
	RetryAfter time.Duration
}

// New returns a problem without extra headers.
func New(status int, code, detail string) *Problem {
	return &Problem{Status: status, Code: code, Detail: detail}
}

// Error implements error, so that handlers can return a problem where they return errors.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// wire is the JSON of RFC 9457 section 3.1 with the extension member "code".
type wire struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
	Code   string `json:"code"`
}

// MarshalJSON renders the body.
func (p *Problem) MarshalJSON() ([]byte, error) {
	return json.Marshal(wire{
		Type: typeBase + p.Code, Title: http.StatusText(p.Status), Status: p.Status, Detail: p.Detail, Code: p.Code,
	})
}

// Write sends the problem as the whole response. A client that is gone is not an error.
func Write(w http.ResponseWriter, p *Problem) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Cache-Control", "no-store")
	if p.Challenge != "" {
		header.Set("WWW-Authenticate", p.Challenge)
	}
	if p.Allow != "" {
		header.Set("Allow", p.Allow)
	}
	if p.RetryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(int((p.RetryAfter+time.Second-1)/time.Second)))
	}
	w.WriteHeader(p.Status)
	// Strings and a number always marshal, and a failing write means that nobody listens any more.
	_ = json.NewEncoder(w).Encode(p)
}
