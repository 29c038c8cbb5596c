// Package placement chooses the SFU that hosts an encounter, and another one when it dies.
//
// The choice is a value in the encounter's record, changed only by compare-and-set with a growing epoch, so
// that any number of gateways may decide at once and all end up with the same answer.
package placement

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
)

// Errors of a Placer and its Reserver.
var (
	// ErrNoServer says that no SFU could take the encounter; the record is unchanged.
	ErrNoServer = errors.New("no media server available")
	// ErrRefused is what a Reserver returns, wrapped with the code, when the SFU itself said no.
	ErrRefused = errors.New("refused by the media server")
)

// errMoved ends an attempt that found the record changed under it.
var errMoved = errors.New("placed by somebody else")

// reserveTimeout is how long one SFU may take to answer before the next one is asked: a failover has 3 s in all.
const reserveTimeout = time.Second

// Hedge is how long an SFU is waited for alone before the next one is asked as well.
const Hedge = 300 * time.Millisecond

// Catalog lists the SFUs of all regions.
type Catalog interface {
	Services(ctx context.Context, name string) ([]discovery.Service, error)
}

// Reserver asks an SFU to host an encounter under an epoch. Any error makes the Placer ask the next one. A
// reservation that nobody uses lapses by itself.
type Reserver interface {
	Reserve(ctx context.Context, c Candidate, key encounter.Key, epoch uint64) error
}

// Placer decides placements. Its fields are set once; it is safe for concurrent use.
type Placer struct {
	Catalog  Catalog
	Store    encounter.Store
	Reserver Reserver
	Log      zerolog.Logger
	// Known tells what the caller has heard from an SFU itself; nil means nothing.
	Known func(sfu string) Known
}

// Place gives an encounter its first placement, and returns the one it has if it is placed already. It fails
// with ErrNoServer, encounter.ErrEnded or an error of the store or the catalog.
func (p *Placer) Place(ctx context.Context, key encounter.Key) (encounter.Placement, error) {
	return p.decide(ctx, key, "", func(held encounter.Placement) bool { return !held.Placed() })
}

// Replace gives an encounter another SFU after its own died, and returns the newer placement if the record
// no longer names dead. It fails as Place does.
func (p *Placer) Replace(
	ctx context.Context, key encounter.Key, dead encounter.Placement,
) (encounter.Placement, error) {
	return p.decide(ctx, key, dead.SFU, func(held encounter.Placement) bool { return held == dead })
}

// decide writes a placement under the next epoch as long as the one in the record is due for a change.
func (p *Placer) decide(
	ctx context.Context, key encounter.Key, dead string, due func(encounter.Placement) bool,
) (encounter.Placement, error) {
	e, err := p.Store.Get(ctx, key)
	if err != nil {
		return encounter.Placement{}, err
	}
	if e.HasEnded() {
		return encounter.Placement{}, encounter.ErrEnded
	}
	if !due(e.Placement) {
		return e.Placement, nil
	}
	chosen, err := p.reserve(ctx, e, dead)
	if err != nil {
		return encounter.Placement{}, err
	}
	var winner encounter.Placement
	written, err := encounter.Change(ctx, p.Store, key, func(e *encounter.Encounter) error {
		if !due(e.Placement) { // perhaps even to the same SFU
			winner = e.Placement
			return errMoved
		}
		return e.Place(chosen)
	})
	if errors.Is(err, errMoved) {
		return winner, nil
	}
	if err != nil {
		return encounter.Placement{}, err
	}
	placed := written.Placement // with the term under which the store wrote it
	p.Log.Info().Str("tenant", key.Tenant).Str("encounter", key.ID).Str("region", placed.Region).
		Str("sfu", placed.SFU).Uint64("epoch", placed.Epoch).Uint64("term", placed.Term).Msg("encounter placed")
	return placed, nil
}

// reserve finds the first SFU in rank order that takes the encounter under the next epoch.
func (p *Placer) reserve(ctx context.Context, e encounter.Encounter, dead string) (encounter.Placement, error) {
	services, err := p.Catalog.Services(ctx, discovery.SFUService)
	if err != nil {
		return encounter.Placement{}, fmt.Errorf("place encounter: %w", err)
	}
	candidates := Rank(services, e, map[string]bool{dead: true}, p.Known)
	epoch := e.Placement.Epoch + 1
	chosen, err := firstToTake(ctx, candidates, Hedge,
		func(ctx context.Context, c Candidate) error { return p.ask(ctx, c, e.Key, epoch) },
		func(c Candidate, err error) {
			p.Log.Warn().Str("tenant", e.Tenant).Str("encounter", e.ID).Str("sfu", c.SFU).
				Uint64("epoch", epoch).Bool("refused", errors.Is(err, ErrRefused)).Err(err).Msg("media server did not take the encounter")
		})
	switch {
	case len(candidates) == 0:
		return encounter.Placement{}, fmt.Errorf("%w: none of %d known is in service, allowed and not dead",
			ErrNoServer, len(services))
	case err != nil && ctx.Err() != nil:
		return encounter.Placement{}, fmt.Errorf("place encounter: %w", ctx.Err())
	case err != nil:
		return encounter.Placement{}, fmt.Errorf("%w: %d asked: %w", ErrNoServer, len(candidates), err)
	}
	return encounter.Placement{Region: chosen.Region, SFU: chosen.SFU, Epoch: epoch, Term: e.Placement.Term}, nil
}

func (p *Placer) ask(ctx context.Context, c Candidate, key encounter.Key, epoch uint64) error {
	ctx, cancel := context.WithTimeout(ctx, reserveTimeout)
	defer cancel()
	return p.Reserver.Reserve(ctx, c, key, epoch)
}
