package federation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/wardline/wardline/core/encounter/federation/federationtest"
)

func world(network *federationtest.Network, cut federationtest.Path) federationtest.World {
	return federationtest.World{
		Regions: regions, KV: network.KV,
		Cut:  func() { network.Isolate(regions[0], regions, cut) },
		Heal: func() { network.Isolate(regions[0], regions, federationtest.Path{}) },
	}
}

// apart returns a network whose regions are some milliseconds from each other.
func apart() *federationtest.Network {
	network := federationtest.NewNetwork(federationtest.Memory())
	for i, region := range regions {
		network.Isolate(region, regions, federationtest.Path{Delay: time.Duration(10*i+5) * time.Millisecond})
	}
	return network
}

func TestHundredPlacementsFromThreeRegionsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { federationtest.Placements(t, world(apart(), federationtest.Path{})) })
}

func TestHundredPlacementsWithTheHomeCutOffStrandNobody(t *testing.T) {
	for name, cut := range map[string]federationtest.Path{
		"refusing": {Cut: true, Refuse: true},
		"silent":   {Cut: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { federationtest.SplitBrain(t, world(apart(), cut)) })
		})
	}
}
