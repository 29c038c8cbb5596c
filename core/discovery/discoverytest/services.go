package discoverytest

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
)

// instance returns a service that can be registered.
func instance(name, id, node, region string) discovery.Service {
	return discovery.Service{
		Name: name, ID: id, Node: node, Region: region, Health: discovery.Passing,
		Meta: map[string]string{discovery.MetaLoad: "0.25"},
	}
}

func register(t *testing.T, d discovery.Discovery, services ...discovery.Service) {
	t.Helper()
	for _, s := range services {
		require.NoError(t, d.Register(deadline(t), s))
		t.Cleanup(func() { _ = d.Deregister(deadline(t), s.Name, s.ID) }) // may be gone already
	}
}

// eventually waits until the list of a service is as wanted.
func eventually(t *testing.T, d discovery.Discovery, name string, want ...discovery.Service) {
	t.Helper()
	var got []discovery.Service
	require.Eventually(t, func() bool {
		var err error
		got, err = d.Services(deadline(t), name)
		return err == nil && equal(got, want)
	}, patience, tick, "services of %s never became %+v", name, want)
}

func equal(got, want []discovery.Service) bool {
	return len(got) == 0 && len(want) == 0 || reflect.DeepEqual(got, want)
}

func servicesInOrder(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("service")
	eventually(t, d, name)
	a := instance(name, fresh("a"), fresh("node"), "eu-central")
	b := instance(name, fresh("b"), fresh("node"), "us-east")
	c := instance(name, fresh("c"), fresh("node"), "eu-central")
	b.Health = discovery.Warning
	c.Health = discovery.Critical
	register(t, d, c, a, b, instance(fresh("other"), fresh("d"), fresh("node"), "us-east"))
	eventually(t, d, name, a, b, c)
}

func registerReplaces(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("service")
	s := instance(name, fresh("a"), fresh("node"), "eu")
	register(t, d, s)
	s.Meta = map[string]string{discovery.MetaLoad: "0.5", discovery.MetaControl: "192.0.2.1:1"}
	register(t, d, s)
	eventually(t, d, name, s)
	s.Meta[discovery.MetaLoad] = "changed by the caller"
	got, err := d.Services(deadline(t), name)
	require.NoError(t, err)
	require.Equal(t, "0.5", got[0].Meta[discovery.MetaLoad])
}

func deregister(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("service")
	a, b := instance(name, fresh("a"), fresh("node"), "eu"), instance(name, fresh("b"), fresh("node"), "eu")
	register(t, d, a, b)
	require.NoError(t, d.Deregister(deadline(t), name, a.ID))
	eventually(t, d, name, b)
	require.ErrorIs(t, d.Deregister(deadline(t), name, a.ID), discovery.ErrNotFound)
	require.ErrorIs(t, d.Deregister(deadline(t), fresh("service"), b.ID), discovery.ErrNotFound)
}

func invalidService(t *testing.T, d discovery.Discovery) {
	t.Helper()
	for what, spoil := range map[string]func(*discovery.Service){
		"name":   func(s *discovery.Service) { s.Name = "" },
		"id":     func(s *discovery.Service) { s.ID = "a/b" },
		"node":   func(s *discovery.Service) { s.Node = "" },
		"region": func(s *discovery.Service) { s.Region = "two words" },
		"health": func(s *discovery.Service) { s.Health = "splendid" },
	} {
		s := instance(fresh("service"), fresh("a"), fresh("node"), "eu")
		spoil(&s)
		require.ErrorIs(t, d.Register(deadline(t), s), discovery.ErrInvalid, what)
	}
}

func watchServices(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name, node := fresh("service"), fresh("node")
	watch := d.WatchServices(deadline(t), name)
	require.Empty(t, receive(t, watch), "the present list comes first, also when it is empty")
	a, b := instance(name, fresh("a"), node, "eu"), instance(name, fresh("b"), node, "us")
	sees := func(want ...discovery.Service) {
		t.Helper()
		until(t, watch, func(got []discovery.Service) bool { return equal(got, want) })
	}
	register(t, d, a)
	sees(a)
	register(t, d, b)
	sees(a, b)
	require.NoError(t, d.SetMaintenance(deadline(t), node, true, "patch"))
	inMaintenanceA, inMaintenanceB := a, b
	inMaintenanceA.Maintenance, inMaintenanceB.Maintenance = true, true
	sees(inMaintenanceA, inMaintenanceB)
	require.NoError(t, d.SetMaintenance(deadline(t), node, false, ""))
	sees(a, b)
	require.NoError(t, d.Deregister(deadline(t), name, a.ID))
	sees(b)
	require.NoError(t, d.Deregister(deadline(t), name, b.ID))
	sees()
}

func watchServicesLast(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name := fresh("service")
	watch := d.WatchServices(deadline(t), name)
	s := instance(name, fresh("a"), fresh("node"), "eu")
	for load := range 20 {
		s.Meta = map[string]string{discovery.MetaLoad: strconv.Itoa(load)}
		register(t, d, s)
	}
	until(t, watch, func(got []discovery.Service) bool {
		return len(got) == 1 && got[0].Meta[discovery.MetaLoad] == "19"
	})
}

func maintenance(t *testing.T, d discovery.Discovery) {
	t.Helper()
	name, second, node := fresh("service"), fresh("service"), fresh("node")
	a, b := instance(name, fresh("a"), node, "eu"), instance(name, fresh("b"), fresh("node"), "eu")
	c := instance(second, fresh("c"), node, "eu")
	register(t, d, a, b, c)
	require.NoError(t, d.SetMaintenance(deadline(t), node, true, "patch"))
	a.Maintenance, c.Maintenance = true, true
	eventually(t, d, name, a, b)
	eventually(t, d, second, c)

	a.Maintenance = false
	register(t, d, a) // Nomad does so whenever a service's definition changes
	a.Maintenance = true
	eventually(t, d, name, a, b)

	require.NoError(t, d.SetMaintenance(deadline(t), node, true, "again"), "switching on twice")
	require.NoError(t, d.SetMaintenance(deadline(t), node, false, ""))
	a.Maintenance, c.Maintenance = false, false
	eventually(t, d, name, a, b)
	eventually(t, d, second, c)
	require.NoError(t, d.SetMaintenance(deadline(t), node, false, ""), "switching off twice")
}

func maintenanceUnknown(t *testing.T, d discovery.Discovery) {
	t.Helper()
	require.ErrorIs(t, d.SetMaintenance(deadline(t), fresh("node"), true, "patch"), discovery.ErrNotFound)
}
