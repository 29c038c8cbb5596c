package discoverytest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/core/discovery"
)

func missingKey(t *testing.T, d discovery.Discovery) {
	t.Helper()
	_, err := d.Get(deadline(t), fresh("key"))
	require.ErrorIs(t, err, discovery.ErrNotFound)
	_, err = d.CompareAndSet(deadline(t), fresh("key"), []byte("x"), 7)
	require.ErrorIs(t, err, discovery.ErrConflict)
}

func createOnce(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key") + "/part"
	created := put(t, d, key, "one", 0)
	require.Equal(t, key, created.Key)
	_, err := d.CompareAndSet(deadline(t), key, []byte("two"), 0)
	require.ErrorIs(t, err, discovery.ErrConflict)
	got, err := d.Get(deadline(t), key)
	require.NoError(t, err)
	require.Equal(t, created, got)
}

func staleIndex(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key")
	first := put(t, d, key, "one", 0)
	second := put(t, d, key, "two", first.Index)
	for _, index := range []uint64{0, first.Index, second.Index + 1000} {
		_, err := d.CompareAndSet(deadline(t), key, []byte("three"), index)
		require.ErrorIs(t, err, discovery.ErrConflict, "index %d", index)
	}
	got, err := d.Get(deadline(t), key)
	require.NoError(t, err)
	require.Equal(t, second, got)
}

func indexGrows(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key")
	first := put(t, d, key, "one", 0)
	second := put(t, d, key, "one", first.Index)
	require.Greater(t, second.Index, first.Index, "also when the value stays the same")
	require.NoError(t, d.Delete(deadline(t), key, second.Index))
	require.Greater(t, put(t, d, key, "one", 0).Index, second.Index)
}

func exactBytes(t *testing.T, d discovery.Discovery) {
	t.Helper()
	for _, value := range []string{"", "\x00\xff\n", strings.Repeat("v", discovery.MaxValueBytes)} {
		key := fresh("key")
		put(t, d, key, value, 0)
		got, err := d.Get(deadline(t), key)
		require.NoError(t, err)
		require.NotNil(t, got.Value, "nil means deleted")
		require.Equal(t, []byte(value), got.Value)
	}
}

func ownCopy(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key, mine := fresh("key"), []byte("mine")
	entry, err := d.CompareAndSet(deadline(t), key, mine, 0)
	require.NoError(t, err)
	mine[0], entry.Value[1] = 'X', 'X'
	got, err := d.Get(deadline(t), key)
	require.NoError(t, err)
	require.Equal(t, "mine", string(got.Value))
	got.Value[2] = 'X'
	list, err := d.List(deadline(t), key)
	require.NoError(t, err)
	require.Len(t, list, 1)
	require.Equal(t, "mine", string(list[0].Value))
}

func deleteNeedsIndex(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key")
	first := put(t, d, key, "one", 0)
	second := put(t, d, key, "two", first.Index)
	require.ErrorIs(t, d.Delete(deadline(t), key, first.Index), discovery.ErrConflict)
	require.ErrorIs(t, d.Delete(deadline(t), key, 0), discovery.ErrConflict)
	_, err := d.Get(deadline(t), key)
	require.NoError(t, err)
	require.NoError(t, d.Delete(deadline(t), key, second.Index))
	_, err = d.Get(deadline(t), key)
	require.ErrorIs(t, err, discovery.ErrNotFound)
}

func deleteMissing(t *testing.T, d discovery.Discovery) {
	t.Helper()
	require.NoError(t, d.Delete(deadline(t), fresh("key"), 0))
	require.NoError(t, d.Delete(deadline(t), fresh("key"), 12))
}

func listInOrder(t *testing.T, d discovery.Discovery) {
	t.Helper()
	prefix := fresh("list")
	for _, name := range []string{"/b", "/a/2", "/a/1", "/c", "x/1"} {
		put(t, d, prefix+name, name, 0)
	}
	entries, err := d.List(deadline(t), prefix+"/")
	require.NoError(t, err)
	var names []string
	for _, entry := range entries {
		require.Equal(t, prefix+string(entry.Value), entry.Key)
		require.NotZero(t, entry.Index)
		names = append(names, string(entry.Value))
	}
	require.Equal(t, []string{"/a/1", "/a/2", "/b", "/c"}, names)
	entries, err = d.List(deadline(t), fresh("empty"))
	require.NoError(t, err)
	require.Empty(t, entries)
}

func limits(t *testing.T, d discovery.Discovery) {
	t.Helper()
	tooLarge := make([]byte, discovery.MaxValueBytes+1)
	_, err := d.CompareAndSet(deadline(t), fresh("key"), tooLarge, 0)
	require.ErrorIs(t, err, discovery.ErrInvalid)
	longest := fresh("key")
	longest += strings.Repeat("k", discovery.MaxKeyBytes-len(longest))
	put(t, d, longest, "fits", 0)
	for _, key := range []string{
		"", "/", "/leading", "trailing/", "two//slashes", "spa ce", "percent%2F", "new\nline", "ümlaut", longest + "k",
		strings.Repeat("p/", discovery.MaxKeyParts) + "p",
	} {
		_, err := d.CompareAndSet(deadline(t), key, []byte("x"), 0)
		require.ErrorIs(t, err, discovery.ErrInvalid, "set %q", key)
		_, err = d.Get(deadline(t), key)
		require.ErrorIs(t, err, discovery.ErrInvalid, "get %q", key)
		require.ErrorIs(t, d.Delete(deadline(t), key, 0), discovery.ErrInvalid, "delete %q", key)
	}
}

func concurrentIncrements(t *testing.T, d discovery.Discovery) {
	t.Helper()
	const writers = 100
	key := fresh("counter")
	group, ctx := errgroup.WithContext(deadline(t))
	for range writers {
		group.Go(func() error { return increment(ctx, d, key) })
	}
	require.NoError(t, group.Wait())
	got, err := d.Get(deadline(t), key)
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(writers), string(got.Value))
}

func increment(ctx context.Context, d discovery.Discovery, key string) error {
	for {
		entry, err := d.Get(ctx, key)
		if err != nil && !errors.Is(err, discovery.ErrNotFound) {
			return err
		}
		count := 0
		if err == nil {
			if count, err = strconv.Atoi(string(entry.Value)); err != nil {
				return err
			}
		}
		_, err = d.CompareAndSet(ctx, key, []byte(strconv.Itoa(count+1)), entry.Index)
		if !errors.Is(err, discovery.ErrConflict) {
			return err
		}
	}
}

func watchPresent(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key")
	entry := put(t, d, key, "here", 0)
	require.Equal(t, entry, receive(t, d.Watch(deadline(t), key)))
}

func watchCreation(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key")
	watch := d.Watch(deadline(t), key)
	put(t, d, key+"-other", "no", 0)
	entry := put(t, d, key, "born", 0)
	require.Equal(t, entry, receive(t, watch))
}

func watchLast(t *testing.T, d discovery.Discovery) {
	t.Helper()
	const changes = 50
	key := fresh("key")
	watch := d.Watch(deadline(t), key)
	var last discovery.Entry
	for i := range changes {
		last = put(t, d, key, strconv.Itoa(i), last.Index)
	}
	seen := uint64(0)
	until(t, watch, func(entry discovery.Entry) bool {
		require.Greater(t, entry.Index, seen, "values come in order, none twice")
		seen = entry.Index
		return entry.Index == last.Index && string(entry.Value) == strconv.Itoa(changes-1)
	})
}

func watchDeletion(t *testing.T, d discovery.Discovery) {
	t.Helper()
	key := fresh("key")
	first := put(t, d, key, "one", 0)
	watch := d.Watch(deadline(t), key)
	require.Equal(t, first, receive(t, watch))
	require.NoError(t, d.Delete(deadline(t), key, first.Index))
	gone := receive(t, watch)
	require.Nil(t, gone.Value)
	require.Equal(t, key, gone.Key)
	require.Zero(t, gone.Index)
	require.Equal(t, put(t, d, key, "two", 0), receive(t, watch))
}

func watchCloses(t *testing.T, d discovery.Discovery) {
	t.Helper()
	ctx, cancel := context.WithCancel(deadline(t))
	key := fresh("key")
	watch, services := d.Watch(ctx, key), d.WatchServices(ctx, fresh("service"))
	put(t, d, key, "unread", 0)
	cancel()
	closes(t, watch)
	closes(t, services)
}
