package plan_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/test/stack/plan"
)

func TestAWorldHasItsNodesAndNoAddressTwice(t *testing.T) {
	t.Parallel()
	p, err := plan.New(77, []string{"east", "west", "onprem"}, plan.Standard())
	require.NoError(t, err)

	require.Equal(t, []string{"east", "west", "onprem"}, p.Names())
	require.Equal(t, "10.77.0.0/16", p.Network().String())
	west, ok := p.Region("west")
	require.True(t, ok)
	require.Equal(t, "10.77.2.0/24", west.Prefix.String())
	require.Equal(t, "west-server", west.Server().Name)
	require.Equal(t, "10.77.2.10", west.Server().Addr.String())

	seen := map[netip.Addr]bool{p.Host(): true, p.Router(): true}
	kinds := map[string]map[plan.Kind]int{}
	for _, r := range p.Regions {
		require.False(t, seen[r.Router])
		seen[r.Router] = true
		kinds[r.Name] = map[plan.Kind]int{}
		for _, n := range r.Nodes {
			require.False(t, seen[n.Addr], "%s has an address of its own", n.Name)
			require.True(t, r.Prefix.Contains(n.Addr))
			require.Equal(t, n.Client(), n.Pool() != "")
			seen[n.Addr] = true
			kinds[r.Name][n.Kind]++
		}
	}
	require.Equal(t, map[plan.Kind]int{plan.Server: 1, plan.Gateway: 2, plan.Media: 2, plan.Relay: 2, plan.Guest: 1}, kinds["east"])
	require.Equal(t, map[plan.Kind]int{plan.Server: 1, plan.Gateway: 2, plan.Media: 2, plan.Relay: 1, plan.Guest: 1}, kinds["west"])
}

func TestTargetsAreNodesOrRegions(t *testing.T) {
	t.Parallel()
	p, err := plan.New(77, []string{"east", "west"}, plan.Standard())
	require.NoError(t, err)

	region, err := p.Targets("west")
	require.NoError(t, err)
	require.Len(t, region, 7)
	node, err := p.Targets("east-media-2")
	require.NoError(t, err)
	require.Equal(t, "10.77.1.32", node[0].Addr.String())
	require.Equal(t, "media", node[0].Pool())
	_, err = p.Targets("north")
	require.ErrorIs(t, err, plan.ErrInvalid)
	require.ErrorContains(t, err, `"north"`)
}

func TestImpossibleWorldsAreRefused(t *testing.T) {
	t.Parallel()
	for name, world := range map[string]struct {
		number  int
		regions []string
		shape   plan.Shape
	}{
		"no region":        {77, nil, plan.Standard()},
		"ten regions":      {77, []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}, plan.Standard()},
		"a region twice":   {77, []string{"east", "east"}, plan.Standard()},
		"a name with dots": {77, []string{"us.east"}, plan.Standard()},
		"ten media nodes":  {77, []string{"east"}, plan.Shape{Media: 10}},
		"minus one relay":  {77, []string{"east"}, plan.Shape{Relays: -1}},
		"number 0":         {0, []string{"east"}, plan.Standard()},
		"number 255":       {255, []string{"east"}, plan.Standard()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := plan.New(world.number, world.regions, world.shape)
			require.ErrorIs(t, err, plan.ErrInvalid)
		})
	}
}
