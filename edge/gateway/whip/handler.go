package whip

import (
	"context"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/bearer"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// Media types of the bodies.
const (
	sdpType      = "application/sdp"
	fragmentType = "application/trickle-ice-sdpfrag"
)

// Verifier checks join tokens; access.Verifier does.
type Verifier interface {
	// Join returns what the token allows, or an *access.Refusal.
	Join(ctx context.Context, token string) (access.Grant, error)
	// Resume is Join for going on with a session: the token may have expired since it began.
	Resume(ctx context.Context, token string) (access.Grant, error)
}

// Config is what a Handler needs.
type Config struct {
	Verifier Verifier
	Sessions Sessions
	// Store holds the encounter records, where a session's ICE generation is kept.
	Store encounter.Store
	// Throttle slows down addresses that present bad tokens; nil means no limit.
	Throttle bearer.Throttle
	// Pace says how long a participant has to wait before they may ask about a session again, zero if not at all; nil means no
	// limit. Each time reads the record. What opens or restarts a session has a limit of its own.
	Pace func(key encounter.Key, participant string) time.Duration
	Log  zerolog.Logger
}

// Handler serves WHIP and WHEP.
type Handler struct {
	Config
	guard bearer.Guard
}

// New returns a handler.
func New(c Config) *Handler {
	return &Handler{Config: c, guard: bearer.Guard{Throttle: c.Throttle, Log: c.Log}}
}

// Mux takes routes; *http.ServeMux is one.
type Mux interface {
	Handle(pattern string, handler http.Handler)
}

// Register adds the handler's routes to mux.
func (h *Handler) Register(mux Mux) {
	for pattern, handler := range map[string]http.HandlerFunc{
		"/whip/{encounter}":               h.endpoint(signaling.WHIPSession),
		"/whep/{encounter}":               h.endpoint(signaling.WHEPSession),
		"/whep/{encounter}/{participant}": h.endpoint(signaling.WHEPSession),
		"/whip/{encounter}/{session}":     h.session(encounter.WHIP),
		"/whep/{encounter}/-/{session}":   h.session(encounter.WHEP),
	} {
		mux.Handle(pattern, handler)
	}
}

// endpoint serves the URL that sessions are opened at. Methods RFC 9725 reserves get 405.
func (h *Handler) endpoint(kind signaling.SessionKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		allowOrigins(w.Header())
		switch r.Method {
		case http.MethodOptions:
			w.Header().Set("Accept-Post", sdpType)
			preflight(w, http.MethodPost)
		case http.MethodPost:
			h.answer(w, r, h.open(w, r, kind))
		default:
			problem.Write(w, problem.Method(http.MethodPost, http.MethodOptions))
		}
	}
}

// session serves one session's URL.
func (h *Handler) session(kind encounter.SessionKind) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		allowOrigins(w.Header())
		switch r.Method {
		case http.MethodOptions:
			w.Header().Set("Accept-Patch", fragmentType)
			preflight(w, http.MethodPatch+", "+http.MethodDelete)
		case http.MethodPatch:
			h.answer(w, r, h.patch(w, r, kind))
		case http.MethodDelete:
			h.answer(w, r, h.end(w, r, kind))
		default:
			problem.Write(w, problem.Method(http.MethodPatch, http.MethodDelete, http.MethodOptions))
		}
	}
}

// answer sends the problem of a request that failed; the others have answered themselves.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, err error) {
	if err == nil {
		return
	}
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		h.Log.Error().Err(err).Str("route", r.Pattern).Str("code", p.Code).Msg("whip request failed")
	}
	problem.Write(w, p)
}

// authorize verifies the request's token and that it is for the encounter in the path.
func (h *Handler) authorize(
	r *http.Request, verify func(ctx context.Context, token string) (access.Grant, error),
) (access.Grant, error) {
	var grant access.Grant
	refused := h.guard.Verify(r, func(ctx context.Context, token string) error {
		var err error
		if grant, err = verify(ctx, token); err != nil {
			return err
		}
		return grant.CheckEncounter(r.PathValue("encounter"))
	})
	if refused != nil {
		return access.Grant{}, refused
	}
	return grant, nil
}

// allowOrigins lets pages of other origins use the endpoints (RFC 9725 section 4.5): a request proves
// itself by its Authorization header, never by a cookie, so that no origin gains anything by itself.
func allowOrigins(header http.Header) {
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Expose-Headers", "Location, ETag, Link, Accept-Patch, Accept-Post, Retry-After, WWW-Authenticate")
}

func preflight(w http.ResponseWriter, methods string) {
	header := w.Header()
	header.Set("Allow", methods+", "+http.MethodOptions)
	header.Set("Access-Control-Allow-Methods", methods+", "+http.MethodOptions)
	header.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, If-Match")
	header.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}
