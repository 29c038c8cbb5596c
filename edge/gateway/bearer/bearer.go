// Package bearer is the one way HTTP requests of the gateway prove who they come from: a token in
// the Authorization header (RFC 6750), never in a URL.
package bearer

import (
	"context"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// Throttle slows down addresses that present bad tokens; throttle.Limiter is one.
type Throttle interface {
	// Allow reports whether the address may fail once more.
	Allow(addr netip.Addr) bool
	// Failed notes that a token from the address was refused.
	Failed(addr netip.Addr)
}

// Guard reads, throttles and verifies bearer tokens.
type Guard struct {
	// Throttle may be nil: no limit.
	Throttle Throttle
	Log      zerolog.Logger
}

// Verify calls check with the request's token and returns the problem to send if that was refused. A
// refusal is logged with its code and the client's address, for the audit trail, unless the address has failed
// too often: it then hears nothing but that, while its good tokens still pass.
func (g Guard) Verify(r *http.Request, check func(ctx context.Context, token string) error) *problem.Problem {
	addr, ctx := Addr(r), r.Context()
	throttled := g.Throttle != nil && !g.Throttle.Allow(addr)
	if throttled {
		ctx = access.WithMetIssuers(ctx)
	}
	token, ok := Token(r)
	if !ok {
		p := problem.New(http.StatusUnauthorized, string(access.CodeMalformed), "Authorization: Bearer with a token is required")
		p.Challenge = `Bearer realm="wardline"`
		return p
	}
	err := check(ctx, token)
	if err == nil {
		return nil
	}
	p, code := problem.Of(err), access.RefusalCode(err)
	switch {
	case code != "" && throttled:
		p = problem.New(http.StatusTooManyRequests, problem.RateLimited, "too many refused tokens from this address")
		p.RetryAfter = 10 * time.Second
	case code != "":
		if g.Throttle != nil {
			g.Throttle.Failed(addr)
		}
		g.Log.Warn().Str("code", string(code)).Str("remote", addr.String()).Str("route", r.Pattern).Msg("token refused")
	}
	return p
}

// Token returns the request's bearer token; ok is false if there is none, or more than one.
func Token(r *http.Request) (token string, ok bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(values[0], " ")
	token = strings.TrimSpace(token)
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > access.MaxTokenBytes {
		return "", false
	}
	return token, true
}

// Addr returns the address of the request's peer, the zero Addr if it has none. Forwarding headers are
// not believed: a gateway terminates TLS itself.
func Addr(r *http.Request) netip.Addr {
	addrPort, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return addrPort.Addr().Unmap().WithZone("")
}
