package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/core/tenants"
)

// registry is where the API keys of one of the listed regions are.
type registry struct {
	*tenants.KV

	region string
	listed []string
}

// inEveryRegion does something with the tenants of each federated region, the own one first; a region where it fails
// does not keep the others from it.
func inEveryRegion(ctx context.Context, o consulOptions, do func(in registry) error) error {
	if o.address == "" {
		return errors.New("--consul: needed, it is where API keys are registered")
	}
	if err := o.check(""); err != nil {
		return err
	}
	consul, err := discovery.NewConsul(o.config("", zerolog.Nop()))
	if err != nil {
		return fmt.Errorf("--consul: %w", err)
	}
	limited, cancel := context.WithTimeout(ctx, consulPatience)
	regions, err := consul.Regions(limited)
	cancel()
	if err != nil {
		return failed(errors.Join(fmt.Errorf("--consul %s: %w", o.address, err), consul.Close()))
	}
	err = inRegions(ctx, regions, func(region string) tenants.Store { return consul.KV(region) }, do)
	return failed(errors.Join(err, consul.Close()))
}

// inRegions does it in those that are listed, and fails for others where one of them remembers that keys were registered: what is
// cut off from servers that were started anew is not listed.
func inRegions(ctx context.Context, listed []string, store func(region string) tenants.Store, do func(in registry) error) error {
	var failures []error
	var remembered []string
	for _, region := range listed {
		in := registry{tenants.NewKV(store(region)), region, listed}
		err := do(in)
		if err == nil {
			var regions []string
			regions, err = in.Regions(ctx)
			remembered = append(remembered, regions...)
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("region %s: %w", region, err))
		}
	}
	slices.Sort(remembered)
	for _, region := range slices.Compact(remembered) {
		if !slices.Contains(listed, region) {
			failures = append(failures,
				fmt.Errorf("region %s: not reached, Consul does not list it: run this again once it is back", region))
		}
	}
	return errors.Join(failures...)
}
