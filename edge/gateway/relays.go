package gateway

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/neighbors"
	"github.com/wardline/wardline/edge/gateway/turnlink"
)

const (
	// relayTTL is how long TURN credentials work: longer than a visit, since a client cannot renew them in one.
	relayTTL = 6 * time.Hour
	// longestCredential is how long any of a client's credentials may work, those of other regions included.
	longestCredential = max(relayTTL, neighbors.CredentialTTL)
	// maxRelays bounds what a client gets: each one costs it seconds of gathering.
	maxRelays = 2
	// secretEvery is how often the TURN secret is looked at, secretRetry while it has not been seen yet.
	secretEvery, secretRetry = time.Minute, 2 * time.Second
)

// relays makes ICE server lists from the relays in the catalog and the TURN secret, both kept at hand so
// that handing them out never waits.
type relays struct {
	region string
	// others has credentials for relays of other regions; nil where the secret is good for those too.
	others *neighbors.Book
	// standing is what the control channel says of a relay, towards an SFU.
	standing func(relay, sfu string) turnlink.Standing
	mu       sync.Mutex
	known    []discovery.Service
	secret   secrets.Shared
}

// follow keeps the relays known until ctx ends; changed is told of each change.
func (r *relays) follow(ctx context.Context, catalog discovery.Catalog, changed func([]discovery.Service)) {
	for services := range catalog.WatchServices(ctx, discovery.TURNService) {
		r.set(services)
		changed(services)
	}
}

func (r *relays) set(services []discovery.Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known = services
}

// refresh fetches the secret; the last good one is kept.
func (r *relays) refresh(ctx context.Context, keeper Keeper, log zerolog.Logger) {
	secret, err := keeper.Shared(ctx, secrets.TURNSecret)
	if err != nil {
		log.Warn().Err(err).Msg("TURN secret not available, the last known one is used")
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
}

// keepFresh refreshes the secret now and then until ctx ends, and soon while there is none: nobody gets a relay without.
func (r *relays) keepFresh(ctx context.Context, keeper Keeper, log zerolog.Logger) {
	for {
		wait := secretEvery
		if r.unset() {
			wait = secretRetry
		}
		select {
		case <-time.After(wait):
			r.refresh(ctx, keeper, log)
		case <-ctx.Done():
			return
		}
	}
}

func (r *relays) unset() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.secret.Current) == 0
}

// servers lists the relays for a client, with credentials of its own: those near the given region first, and among
// them those that have confirmed to forward to its SFU, if it has one yet. A relay that drains is not handed out, though
// the catalog may not know yet.
func (r *relays) servers(id, region, sfu string) []signaling.ICEServer {
	r.mu.Lock()
	known, secret := slices.Clone(r.known), r.secret
	r.mu.Unlock()
	standing := make(map[string]turnlink.Standing, len(known))
	for _, s := range known {
		standing[s.ID] = r.standing(s.ID, sfu)
	}
	known = slices.DeleteFunc(known, func(s discovery.Service) bool {
		return s.Maintenance || s.Health == discovery.Critical || standing[s.ID].Draining || len(relayURLs(s)) == 0
	})
	distance := func(s discovery.Service) int {
		switch {
		case s.Stale, standing[s.ID].Dead: // it may be gone, alone or with its region
			return 3
		case s.Region == region:
			return 0
		case s.Region == r.region:
			return 1
		}
		return 2
	}
	doubt := func(s discovery.Service) int {
		if standing[s.ID].Forwards {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(known, func(a, b discovery.Service) int {
		return cmp.Or(distance(a)-distance(b), doubt(a)-doubt(b))
	})
	list := make([]signaling.ICEServer, 0, maxRelays)
	for _, s := range known {
		server, ok := r.server(s, secret, id)
		if !ok {
			continue
		}
		if list = append(list, server); len(list) == maxRelays {
			break
		}
	}
	return list
}

// server makes a client's credentials for a relay, or reports that there are none at the moment.
func (r *relays) server(s discovery.Service, secret secrets.Shared, id string) (signaling.ICEServer, bool) {
	if r.others != nil && s.Region != r.region {
		found, ok := r.others.Credential(s.Region, id)
		return signaling.ICEServer{URLs: relayURLs(s), Username: found.Username, Credential: found.Password}, ok
	}
	if len(secret.Current) == 0 {
		return signaling.ICEServer{}, false
	}
	user, password := secrets.TURNCredential(secret, id, time.Now().Add(relayTTL))
	return signaling.ICEServer{URLs: relayURLs(s), Username: user, Credential: password}, true
}

// expect has what a client may need of other regions' relays made ahead of time.
func (r *relays) expect(id string) {
	if r.others != nil {
		r.others.Want(id)
	}
}

// relayURLs are a relay's URLs (RFC 7065).
func relayURLs(s discovery.Service) []string {
	var urls []string
	if at := s.Meta[discovery.MetaTURN]; at != "" && !strings.ContainsAny(at, "?/ ") {
		urls = append(urls, "turn:"+at+"?transport=udp", "turn:"+at+"?transport=tcp")
	}
	if at := s.Meta[discovery.MetaTURNTLS]; at != "" && !strings.ContainsAny(at, "?/ ") {
		urls = append(urls, "turns:"+at+"?transport=tcp")
	}
	return urls
}
