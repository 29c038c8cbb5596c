package federation_test

import (
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/encounter/encountertest"
	"github.com/wardline/wardline/core/encounter/federation"
	"github.com/wardline/wardline/core/encounter/federation/federationtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	regions = []string{"eu", "us", "asia"}
	visit   = encounter.Key{Tenant: "clinic", ID: "visit-1"}
)

// open returns a region's Store on a network.
func open(t *testing.T, network *federationtest.Network, own string) *federation.Store {
	t.Helper()
	return openPatient(t, network, own, 0)
}

// openPatient is open for a test on real time, whose machine may be slow.
func openPatient(t *testing.T, network *federationtest.Network, own string, patience time.Duration) *federation.Store {
	t.Helper()
	store := federation.New(federation.Config{
		Own: own, Order: func() []string { return regions }, Patience: patience, OwnPatience: patience,
		KV:  func(region string) encounter.KV { return network.KV(own, region) },
		Log: zerolog.Nop(),
	})
	t.Cleanup(store.Close)
	return store
}

const patient = 15 * time.Second

func TestStoreOfThreeRegionsConforms(t *testing.T) {
	for _, own := range regions {
		t.Run("in "+own, func(t *testing.T) {
			encountertest.Run(t, func(t *testing.T) encounter.Store {
				t.Helper()
				return openPatient(t, federationtest.NewNetwork(federationtest.Memory()), own, patient)
			})
		})
	}
}

func TestStoreOfOneRegionConforms(t *testing.T) {
	encountertest.Run(t, func(t *testing.T) encounter.Store {
		t.Helper()
		network := federationtest.NewNetwork(federationtest.Memory())
		store := federation.New(federation.Config{
			Own: "eu", Order: func() []string { return []string{"eu"} }, OwnPatience: patient,
			KV: func(region string) encounter.KV { return network.KV("eu", region) },
		})
		t.Cleanup(store.Close)
		return store
	})
}

func TestStoreConformsWithARegionOutOfReach(t *testing.T) {
	for _, gone := range regions[1:] { // the suite has an encounter that only the first may keep
		t.Run("without "+gone, func(t *testing.T) {
			encountertest.Run(t, func(t *testing.T) encounter.Store {
				t.Helper()
				network := federationtest.NewNetwork(federationtest.Memory())
				network.Isolate(gone, regions, federationtest.Path{Cut: true, Refuse: true})
				own := "us"
				if gone == own {
					own = "asia"
				}
				return openPatient(t, network, own, patient)
			})
		})
	}
}
