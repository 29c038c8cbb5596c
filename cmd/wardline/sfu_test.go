package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
)

// awayAtFirst is a discovery that does not take the first registrations.
type awayAtFirst struct {
	*discovery.Memory
	away  int
	asked int
}

func (d *awayAtFirst) Register(ctx context.Context, service discovery.Service) error {
	d.asked++
	if d.asked <= d.away {
		return discovery.ErrUnavailable
	}
	return d.Memory.Register(ctx, service)
}

// TestALoadIsAnnouncedUntilItIsTaken is of one that does not change any more after the catalog was away.
func TestALoadIsAnnouncedUntilItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		catalog := &awayAtFirst{Memory: discovery.NewMemory(), away: 2}
		p := &process{options: commonOptions{register: true}, discovery: catalog}
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		service := discovery.Service{
			Name: discovery.SFUService, ID: "sfu-1", Node: "n", Region: "r", Health: discovery.Passing,
			Meta: map[string]string{discovery.MetaLoad: "0"},
		}
		p.announceLoad(ctx, service, func() float64 { return 0.5 })
		require.Equal(t, 3, catalog.asked, "and once it was taken no more")
	})
}
