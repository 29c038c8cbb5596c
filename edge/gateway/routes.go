package gateway

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/gateway/api"
	"github.com/wardline/wardline/edge/gateway/problem"
	"github.com/wardline/wardline/edge/gateway/whip"
)

// routes is everything the gateway serves.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/signal", getOnly(s.signal))
	mux.HandleFunc("/v1/regions", getOnly(s.regions))
	mux.HandleFunc("/.well-known/jwks.json", getOnly(s.jwks))
	s.api = api.New(api.Config{
		Verifier: s.verifier, Signer: s.Keeper, Store: s.Store, KV: s.KV, Quality: s.quality, BaseURL: s.PublicURL,
		Throttle: s.throttle, Pace: s.paces.requests.TakeN, Log: s.Log, Ended: s.endedByTenant, MaxKeys: 2 * s.MaxEncounters,
	})
	s.api.Register(mux)
	whip.New(whip.Config{
		Verifier: s.verifier, Sessions: mediaSessions{s}, Store: s.Store, Throttle: s.throttle, Pace: s.paces.request, Log: s.Log,
	}).Register(mux)
	if s.Web != nil {
		mux.Handle("/", s.Web)
	}
	return mux
}

// sweepKeysUntilEnd forgets the idempotency keys of requests that are too old to be made again.
func (s *Server) sweepKeysUntilEnd() {
	s.api.Sweep(s.life)
	s.every(api.SweepEvery, func() { s.api.Sweep(s.life) })
}

// getOnly answers other methods with a problem, as all of the API does.
func getOnly(serve http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			problem.Write(w, problem.Method(http.MethodGet, http.MethodHead))
			return
		}
		serve(w, r)
	}
}

// regionEntry is a region that a client can measure its round-trip time to.
type regionEntry struct {
	Region string `json:"region"`
	// URLs are the base URLs of the region's gateways in service.
	URLs []string `json:"urls"`
}

// regions lists the regions with gateways, ordered by name, for clients to measure.
func (s *Server) regions(w http.ResponseWriter, _ *http.Request) {
	known := s.peers.regions(true)
	list := make([]regionEntry, 0, len(known))
	for region, urls := range known {
		list = append(list, regionEntry{Region: region, URLs: urls})
	}
	slices.SortFunc(list, func(a, b regionEntry) int { return strings.Compare(a.Region, b.Region) })
	w.Header().Set("Content-Type", "application/json")
	// Measured from pages of other gateways, so readable from any origin.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	if err := json.NewEncoder(w).Encode(map[string][]regionEntry{"regions": list}); err != nil {
		s.Log.Debug().Err(err).Msg("regions not sent")
	}
}

// jwks publishes the keys that join tokens are verified with (RFC 7517).
func (s *Server) jwks(w http.ResponseWriter, r *http.Request) {
	keys, err := s.Keeper.PublicKeys(r.Context())
	if err != nil {
		problem.Write(w, problem.Of(err))
		return
	}
	document, err := access.JWKS(keys)
	if err != nil {
		problem.Write(w, problem.Of(err))
		return
	}
	w.Header().Set("Content-Type", "application/jwk-set+json")
	w.Header().Set("Cache-Control", "public, max-age=60")
	if _, err := w.Write(document); err != nil {
		s.Log.Debug().Err(err).Msg("JWKS not sent")
	}
}
