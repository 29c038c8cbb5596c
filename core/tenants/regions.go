package tenants

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/wardline/wardline/core/discovery"
)

const (
	// regionsKey is no tenant's: their names begin with a letter or digit.
	regionsKey = keyPrefix + ".regions"
	// maxRegions bounds how many regions are remembered.
	maxRegions = 64
)

// Regions returns in which regions keys were registered, as far as Remember was told: they may be more than are in reach.
func (k *KV) Regions(ctx context.Context) ([]string, error) {
	regions, _, err := k.regions(ctx)
	return regions, err
}

// Remember adds regions to those where keys were registered.
func (k *KV) Remember(ctx context.Context, regions []string) error {
	var err error
	for range registerTries {
		var known []string
		var at uint64
		if known, at, err = k.regions(ctx); err != nil {
			return err
		}
		all := slices.Compact(slices.Sorted(slices.Values(slices.Concat(known, regions))))
		if slices.Equal(all, known) {
			return nil
		}
		var content []byte
		if content, err = json.Marshal(all); err != nil {
			return fmt.Errorf("regions of tenants' keys: %w", err)
		}
		if _, err = k.store.CompareAndSet(ctx, regionsKey, content, at); !errors.Is(err, discovery.ErrConflict) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("regions of tenants' keys: %w", err)
	}
	return nil
}

// regions reads what is remembered, and at which index.
func (k *KV) regions(ctx context.Context) ([]string, uint64, error) {
	entry, err := k.store.Get(ctx, regionsKey)
	if errors.Is(err, discovery.ErrNotFound) {
		return nil, 0, nil
	}
	var regions []string
	if err == nil {
		err = json.Unmarshal(entry.Value, &regions)
	}
	if err == nil && len(regions) > maxRegions {
		err = fmt.Errorf("%d regions, at most %d", len(regions), maxRegions)
	}
	for _, region := range regions {
		if err == nil {
			err = discovery.CheckName("region", region)
		}
	}
	if err != nil {
		return nil, 0, fmt.Errorf("regions of tenants' keys, %s: %w", regionsKey, err)
	}
	return regions, entry.Index, nil
}
