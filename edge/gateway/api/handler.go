package api

import (
	"cmp"
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/edge/gateway/bearer"
	"github.com/wardline/wardline/edge/gateway/problem"
	"github.com/wardline/wardline/edge/gateway/quality"
)

// Verifier checks tokens; access.Verifier does.
type Verifier interface {
	// API returns the tenant that signed an API token, or an *access.Refusal.
	API(ctx context.Context, token string) (tenant string, err error)
	// Join returns what a join token allows, or an *access.Refusal.
	Join(ctx context.Context, token string) (access.Grant, error)
}

// Config is what a Handler needs.
type Config struct {
	Verifier Verifier
	// Signer signs join tokens.
	Signer access.Signer
	Store  encounter.Store
	// Ended is told of each encounter that its tenant ended; nil tells nobody.
	Ended func(encounter.Key)
	// KV keeps what idempotency keys were used for, beyond a restart.
	KV KV
	// Quality is what clients reported.
	Quality *quality.Log
	// BaseURL starts join links: scheme, host and port, without a trailing slash.
	BaseURL string
	// Throttle slows down addresses that present bad tokens; nil means no limit.
	Throttle bearer.Throttle
	// Pace says how long somebody has to wait before they may ask for what costs as much as n requests, zero if not at all; nil
	// means no limit.
	Pace func(who Caller, n int) time.Duration
	// MaxKeys bounds the idempotency keys that are remembered of a tenant (100,000).
	MaxKeys int
	// Now is the clock (default time.Now).
	Now func() time.Time
	Log zerolog.Logger
}

// Caller is who asks: a tenant, or one participant of one of its encounters.
type Caller struct{ Tenant, Encounter, Participant string }

// Handler serves the tenant API.
type Handler struct {
	config Config
	guard  bearer.Guard

	mu sync.Mutex
	// plans are how many each tenant has: the last Sweep's, and those made here since.
	plans map[string]int
}

// New returns a handler.
func New(c Config) *Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	c.MaxKeys = cmp.Or(c.MaxKeys, 100_000)
	c.BaseURL = strings.TrimSuffix(c.BaseURL, "/")
	return &Handler{config: c, plans: make(map[string]int), guard: bearer.Guard{Throttle: c.Throttle, Log: c.Log}}
}

// endpoint answers one method of a resource; it writes nothing when it returns an error.
type endpoint func(w http.ResponseWriter, r *http.Request) error

// Mux takes routes; *http.ServeMux is one.
type Mux interface {
	Handle(pattern string, handler http.Handler)
}

// Register adds the handler's routes to mux.
func (h *Handler) Register(mux Mux) {
	for pattern, methods := range map[string]map[string]endpoint{
		"/v1/encounters":                   {http.MethodPost: h.create},
		"/v1/encounters/{id}":              {http.MethodGet: h.get, http.MethodDelete: h.end},
		"/v1/encounters/{id}/participants": {http.MethodPost: h.add},
		"/v1/encounters/{id}/quality":      {http.MethodGet: h.quality},
	} {
		mux.Handle(pattern, h.resource(methods))
	}
}

// resource dispatches by method, so that a wrong one gets a problem like every other refusal.
func (h *Handler) resource(methods map[string]endpoint) http.Handler {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		if _, ok := methods[method]; ok {
			allowed = append(allowed, method)
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve, ok := methods[r.Method]
		if !ok {
			problem.Write(w, problem.Method(allowed...))
			return
		}
		if err := serve(w, r); err != nil {
			h.refuse(w, r, err)
		}
	})
}

func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p := problem.Of(err)
	if p.Status >= http.StatusInternalServerError {
		h.config.Log.Error().Err(err).Str("route", r.Pattern).Str("code", p.Code).Msg("API request failed")
	}
	problem.Write(w, p)
}

// tenant verifies the request's API token.
func (h *Handler) tenant(r *http.Request) (string, error) {
	var tenant string
	refused := h.guard.Verify(r, func(ctx context.Context, token string) (err error) {
		tenant, err = h.config.Verifier.API(ctx, token)
		return err
	})
	if refused != nil {
		return "", refused
	}
	return tenant, h.pace(Caller{Tenant: tenant}, 1)
}

// reader verifies that the request may read an encounter's quality: by the tenant's API token, or by a
// join token for that encounter whose role may. It returns the tenant, and the participant if it is one.
func (h *Handler) reader(r *http.Request, id string) (tenant, participant string, err error) {
	refused := h.guard.Verify(r, func(ctx context.Context, token string) (err error) {
		grant, joinErr := h.config.Verifier.Join(ctx, token)
		if joinErr == nil {
			tenant, participant = grant.Tenant, grant.Participant
			return mayReadQuality(grant, id)
		}
		if tenant, err = h.config.Verifier.API(ctx, token); err == nil {
			return nil
		}
		// The token was for one of the two audiences: what its verifier said is what helps.
		if access.RefusalCode(joinErr) == access.CodeAudience {
			return err
		}
		return joinErr
	})
	if refused != nil {
		return "", "", refused
	}
	who := Caller{Tenant: tenant}
	if participant != "" { // who cannot use up what their tenant has
		who.Encounter, who.Participant = id, participant
	}
	return tenant, participant, h.pace(who, 1)
}

// pace is the problem of somebody who asks too often, nil if they do not.
func (h *Handler) pace(who Caller, n int) error {
	if h.config.Pace == nil || n <= 0 {
		return nil
	}
	if wait := h.config.Pace(who, n); wait > 0 {
		return problem.TooSoon("too many requests", wait)
	}
	return nil
}

func mayReadQuality(grant access.Grant, id string) error {
	if err := grant.CheckEncounter(id); err != nil {
		return err
	}
	if !access.Can(grant.Role, access.ReadQuality) {
		return problem.New(http.StatusForbidden, problem.NotAllowed, "role "+string(grant.Role)+" may not read the quality timeline")
	}
	return nil
}
