// Package discoverytest is the conformance suite of discovery.Discovery.
//
// Every implementation passes it unchanged, so it asks for nothing that Consul cannot do: names are fresh in each
// run, since the backend may keep what earlier runs left, and effects may take a moment to be seen.
package discoverytest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/discovery"
)

const (
	// patience bounds every wait: only a failing test waits that long.
	patience = 20 * time.Second
	tick     = 5 * time.Millisecond
)

// Run checks an implementation. open returns one that is ready for use and cleans up with the test.
func Run(t *testing.T, open func(t *testing.T) discovery.Discovery) {
	t.Helper()
	for _, part := range []struct {
		name string
		run  func(t *testing.T, d discovery.Discovery)
	}{
		{"a key that does not exist is not found", missingKey},
		{"a key is created once", createOnce},
		{"a stale index conflicts and changes nothing", staleIndex},
		{"an index only grows, also across a deletion", indexGrows},
		{"a value comes back byte for byte", exactBytes},
		{"a returned value is the caller's own", ownCopy},
		{"delete needs the index", deleteNeedsIndex},
		{"deleting what does not exist is no error", deleteMissing},
		{"list returns a prefix in key order", listInOrder},
		{"a key or value beyond the limits is invalid", limits},
		{"concurrent compare-and-set loses no increment", concurrentIncrements},
		{"a watch sends the present value first", watchPresent},
		{"a watch of a missing key waits for its creation", watchCreation},
		{"a slow watcher gets the last value and blocks no writer", watchLast},
		{"a watch sends a deletion and a new creation", watchDeletion},
		{"a watch closes when its context ends", watchCloses},
		{"services are listed by id, from several regions", servicesInOrder},
		{"registering again replaces", registerReplaces},
		{"deregistering removes, once", deregister},
		{"a service with missing members is invalid", invalidService},
		{"a watch of services follows changes", watchServices},
		{"a slow watcher of services gets the last list", watchServicesLast},
		{"node maintenance shows on every instance of the node", maintenance},
		{"maintenance of an unknown node is not found", maintenanceUnknown},
		{"the second candidate leads after a release, under a higher fence", electionHandover},
		{"at most one candidate leads at a time", electionExclusive},
		{"a campaign ends with its context", electionCancelled},
		{"locks of different names are independent", electionNames},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, open(t)) })
	}
}

// fresh returns a name that no other test, and no earlier run, uses.
func fresh(what string) string { return fmt.Sprintf("test-%s-%016x", what, rand.Uint64()) }

// deadline is the context of everything that has to succeed.
func deadline(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// put creates or replaces a key.
func put(t *testing.T, d discovery.Discovery, key, value string, index uint64) discovery.Entry {
	t.Helper()
	entry, err := d.CompareAndSet(deadline(t), key, []byte(value), index)
	require.NoError(t, err)
	require.NotZero(t, entry.Index)
	return entry
}

// receive returns the next value of a watch.
func receive[T any](t *testing.T, watch <-chan T) T {
	t.Helper()
	select {
	case value, open := <-watch:
		require.True(t, open, "the watch closed")
		return value
	case <-time.After(patience):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}

// until reads a watch until a value satisfies done.
func until[T any](t *testing.T, watch <-chan T, done func(T) bool) T {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case value, open := <-watch:
			require.True(t, open, "the watch closed")
			if done(value) {
				return value
			}
		case <-timeout:
			require.FailNow(t, "the expected value never came")
		}
	}
}

// closes waits for a watch to close, whatever it still sends.
func closes[T any](t *testing.T, watch <-chan T) {
	t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case _, open := <-watch:
			if !open {
				return
			}
		case <-timeout:
			require.FailNow(t, "the watch stayed open")
		}
	}
}
