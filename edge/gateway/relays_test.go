package gateway

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/edge/gateway/turnlink"
)

func TestRelaysAreThoseInServiceNearestFirst(t *testing.T) {
	relay := func(id, region string, change ...func(*discovery.Service)) discovery.Service {
		s := discovery.Service{
			Name: discovery.TURNService, ID: id, Region: region, Health: discovery.Passing,
			Meta: map[string]string{discovery.MetaTURN: id + ":3478"},
		}
		for _, each := range change {
			each(&s)
		}
		return s
	}
	stale := func(s *discovery.Service) { s.Stale = true }
	for name, test := range map[string]struct {
		known []discovery.Service
		want  []string
	}{
		"nearest first": {
			[]discovery.Service{relay("a", "far"), relay("b", "own"), relay("c", "near")}, []string{"turn:c:3478", "turn:b:3478"},
		},
		"drains or fails": {
			[]discovery.Service{
				relay("a", "near", func(s *discovery.Service) { s.Maintenance = true }),
				relay("b", "near", func(s *discovery.Service) { s.Health = discovery.Critical }),
				relay("c", "far"),
			},
			[]string{"turn:c:3478"},
		},
		"its region does not answer": {
			[]discovery.Service{relay("a", "near", stale), relay("b", "own"), relay("c", "far")}, []string{"turn:b:3478", "turn:c:3478"},
		},
		"nobody answers": {
			[]discovery.Service{relay("a", "near", stale)}, []string{"turn:a:3478"},
		},
		"says that it drains": {
			[]discovery.Service{relay("drains", "near"), relay("b", "far")}, []string{"turn:b:3478"},
		},
		"does not answer": {
			[]discovery.Service{relay("dead", "near"), relay("b", "far"), relay("c", "own")}, []string{"turn:c:3478", "turn:b:3478"},
		},
		"knows the media server": {
			[]discovery.Service{relay("a", "near"), relay("forwards", "near"), relay("c", "near")},
			[]string{"turn:forwards:3478", "turn:a:3478"},
		},
		"is near but does not know the media server": {
			[]discovery.Service{relay("forwards", "far"), relay("b", "near")}, []string{"turn:b:3478", "turn:forwards:3478"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := &relays{region: "own", secret: secrets.Shared{Current: []byte("secret")}}
			r.standing = func(id, sfu string) turnlink.Standing {
				require.Equal(t, "sfu-1", sfu)
				return turnlink.Standing{Draining: id == "drains", Dead: id == "dead", Forwards: id == "forwards"}
			}
			r.set(test.known)
			var got []string
			for _, server := range r.servers("p", "near", "sfu-1") {
				require.Len(t, server.URLs, 2)
				got = append(got, server.URLs[0][:len(server.URLs[0])-len("?transport=udp")])
			}
			require.Equal(t, test.want, got)
		})
	}
}

// reluctant is a keeper that does not answer the first time.
type reluctant struct {
	Keeper
	asked int
}

func (k *reluctant) Shared(context.Context, string) (secrets.Shared, error) {
	k.asked++
	if k.asked == 1 {
		return secrets.Shared{}, secrets.ErrUnavailable
	}
	return secrets.Shared{Current: []byte("secret")}, nil
}

func TestASecretThatWasNotThereAtTheStartIsSoonLookedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		keeper, r := &reluctant{}, &relays{region: "own", standing: func(string, string) turnlink.Standing { return turnlink.Standing{} }}
		r.set([]discovery.Service{{ID: "a", Region: "own", Meta: map[string]string{discovery.MetaTURN: "a:3478"}}})
		r.refresh(ctx, keeper, zerolog.Nop())
		require.Empty(t, r.servers("p", "own", ""))
		go r.keepFresh(ctx, keeper, zerolog.Nop())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		require.Len(t, r.servers("p", "own", ""), 1)
		require.Equal(t, 2, keeper.asked, "and then not so often any more")
	})
}
