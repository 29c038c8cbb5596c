package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/wardline/wardline/core/signaling"
)

// Bounds of measuring regions.
const (
	regionsPath     = "/v1/regions"
	regionsBudget   = time.Second // all measurements together
	regionsTries    = 3           // the first pays for the connection, the best of them does not
	regionsMax      = 64          // what a join may carry
	regionsGateways = 2           // that are asked of a region
	regionsBytes    = 256 << 10
)

// region is one entry of GET /v1/regions.
type region struct {
	Region string   `json:"region"`
	URLs   []string `json:"urls"`
}

// measureRegions returns the best round-trip time to each region in milliseconds; what cannot be measured in time is left
// out, and the gateway decides without it.
func measureRegions(ctx context.Context, client *http.Client, gateways []string) map[string]float64 {
	ctx, cancel := context.WithTimeout(ctx, regionsBudget)
	defer cancel()
	found := listRegions(ctx, client, gateways)
	var (
		mu      sync.Mutex
		running sync.WaitGroup
		best    = make(map[string]float64)
	)
	for _, each := range found[:min(len(found), regionsMax)] {
		for _, base := range each.URLs[:min(len(each.URLs), regionsGateways)] {
			running.Go(func() {
				for range regionsTries {
					begin := time.Now()
					if _, err := getRegions(ctx, client, base); err != nil {
						return
					}
					took := milliseconds(time.Since(begin))
					mu.Lock()
					if known, ok := best[each.Region]; !ok || took < known {
						best[each.Region] = took
					}
					mu.Unlock()
				}
			})
		}
	}
	running.Wait()
	return best
}

// listRegions asks one gateway after the other for the list, each for its share of the time.
func listRegions(ctx context.Context, client *http.Client, gateways []string) []region {
	for _, base := range gateways {
		ctx, cancel := context.WithTimeout(ctx, regionsBudget/time.Duration(len(gateways)+1))
		found, err := getRegions(ctx, client, base)
		cancel()
		if err == nil {
			return found
		}
	}
	return nil
}

func getRegions(ctx context.Context, client *http.Client, base string) ([]region, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+regionsPath, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("regions: %w", err)
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, regionsBytes))
	if err != nil {
		return nil, fmt.Errorf("regions: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("regions: status %d", response.StatusCode)
	}
	return parseRegions(content)
}

// parseRegions reads the answer to GET /v1/regions; entries without a name that a join may carry are left out.
func parseRegions(content []byte) ([]region, error) {
	var body struct {
		Regions []region `json:"regions"`
	}
	if err := json.Unmarshal(content, &body); err != nil {
		return nil, fmt.Errorf("regions: %w", err)
	}
	return slices.DeleteFunc(body.Regions, func(each region) bool { return !signaling.ValidID(each.Region) }), nil
}
