package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/federation"
)

// openRecords opens the encounter records: of one region with the twins of Consul, otherwise of every federated one,
// of which regions are preferred in this order.
func (p *process) openRecords(regions []string) (records encounter.Store, end func()) {
	if p.consul == nil {
		records := encounter.NewKVStore(p.discovery)
		p.admin.AddCheck("records", func(ctx context.Context) error {
			_, err := records.List(ctx, "ready")
			return err
		})
		return records, func() {}
	}
	store := federation.New(federation.Config{
		Own: p.options.region, Order: regionOrder(p.consul, regions),
		KV:         func(region string) encounter.KV { return p.consul.KV(region) },
		Registerer: p.registry, Log: p.log,
	})
	p.admin.AddCheck("records", func(context.Context) error { return someReach(store.Reach()) })
	p.admin.AddDependency("regions", func(context.Context) error { return fullReach(store.Reach()) })
	return store, store.Close
}

// someReach is an error if no region keeps records at the moment.
func someReach(reach map[string]bool) error {
	for _, answers := range reach {
		if answers {
			return nil
		}
	}
	return fmt.Errorf("%w: no region's records are in reach", discovery.ErrUnavailable)
}

// fullReach is an error if some region does not.
func fullReach(reach map[string]bool) error {
	for _, region := range slices.Sorted(maps.Keys(reach)) {
		if !reach[region] {
			return fmt.Errorf("%w: records of region %s are out of reach", discovery.ErrUnavailable, region)
		}
	}
	return nil
}

// regionsPatience bounds the first look at which regions there are; later ones answer from memory.
const regionsPatience = time.Second

// regionOrder is the same in every region: what the operator prefers, otherwise by name.
func regionOrder(consul *discovery.Consul, preferred []string) func() []string {
	return func() []string {
		if len(preferred) > 0 {
			return slices.Clone(preferred)
		}
		ctx, cancel := context.WithTimeout(context.Background(), regionsPatience)
		defer cancel()
		known, err := consul.Regions(ctx)
		if err != nil {
			return nil
		}
		slices.Sort(known)
		return known
	}
}
