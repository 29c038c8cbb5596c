package discovery

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	patience = 20 * time.Second
	tick     = 5 * time.Millisecond
)

// quick is a pace at which expiry can be waited for.
var quick = pace{
	beat:     20 * time.Millisecond,
	critical: time.Second,
	gone:     2500 * time.Millisecond,
	poll:     20 * time.Millisecond,
	campaign: 5 * time.Millisecond,
}

func open(t *testing.T, dir string, p pace) *Folder {
	t.Helper()
	f, err := openFolder(dir, p)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

func someService(id string) Service {
	return Service{Name: SFUService, ID: id, Node: "node-1", Region: "eu", Health: Passing}
}

func next[T any](t *testing.T, watch <-chan T) T {
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

func TestProcessesSeeEachOther(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, normalPace), open(t, dir, normalPace)
	key, services := b.Watch(t.Context(), "x/y"), b.WatchServices(t.Context(), SFUService)
	require.Empty(t, next(t, services))

	entry, err := a.CompareAndSet(t.Context(), "x/y", []byte("1"), 0)
	require.NoError(t, err)
	require.Equal(t, entry, next(t, key))
	_, err = b.CompareAndSet(t.Context(), "x/y", []byte("2"), 0)
	require.ErrorIs(t, err, ErrConflict)
	entry, err = b.CompareAndSet(t.Context(), "x/y", []byte("2"), entry.Index)
	require.NoError(t, err)
	require.Equal(t, entry, next(t, key))

	require.NoError(t, a.Register(t.Context(), someService("sfu-1")))
	require.Equal(t, []Service{someService("sfu-1")}, next(t, services))
	require.NoError(t, b.SetMaintenance(t.Context(), "node-1", true, "patch"))
	require.Eventually(t, func() bool {
		list, err := a.Services(t.Context(), SFUService)
		return err == nil && len(list) == 1 && list[0].Maintenance
	}, patience, tick)
	require.True(t, next(t, services)[0].Maintenance)
}

func TestStateOutlivesItsProcess(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir, normalPace)
	entry, err := first.CompareAndSet(t.Context(), "key", []byte("kept"), 0)
	require.NoError(t, err)
	require.NoError(t, first.Register(t.Context(), someService("sfu-1")))
	leadership, err := first.Campaign(t.Context(), "lock")
	require.NoError(t, err)
	leadership.Release()
	require.NoError(t, first.Close())
	require.NoError(t, first.Close(), "closing twice is closing once")
	require.ErrorIs(t, first.Register(t.Context(), someService("sfu-2")), ErrUnavailable)

	second := open(t, dir, normalPace)
	got, err := second.Get(t.Context(), "key")
	require.NoError(t, err)
	require.Equal(t, entry, got)
	changed, err := second.CompareAndSet(t.Context(), "key", []byte("new"), entry.Index)
	require.NoError(t, err)
	require.Greater(t, changed.Index, entry.Index)
	list, err := second.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.Empty(t, list, "services end with their process")
	again, err := second.Campaign(t.Context(), "lock")
	require.NoError(t, err)
	defer again.Release()
	require.Greater(t, again.Fence, leadership.Fence)
}

func TestCloseEndsWatches(t *testing.T) {
	f := open(t, t.TempDir(), normalPace)
	key := f.Watch(t.Context(), "key")
	require.NoError(t, f.Close())
	_, open := <-key
	require.False(t, open)
}

// registerAndHang is what a process does in its working directory until it is killed.
func registerAndHang() {
	f, err := openFolder(".", quick)
	if err == nil {
		err = f.Register(context.Background(), someService("victim"))
	}
	if err == nil {
		_, err = f.Campaign(context.Background(), "lock")
	}
	if err != nil {
		os.Exit(1)
	}
	select {}
}

const victimMark = "DISCOVERY_TEST_VICTIM"

func TestServicesOfAKilledProcessTurnCriticalThenVanish(t *testing.T) {
	if os.Getenv(victimMark) != "" {
		registerAndHang()
	}
	t.Parallel()
	dir := t.TempDir()
	f := open(t, dir, quick)
	require.NoError(t, f.Register(t.Context(), someService("witness")))
	watch := f.WatchServices(t.Context(), SFUService)
	self, err := os.Executable()
	require.NoError(t, err)
	victim := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$")
	victim.Dir, victim.Env = dir, append(os.Environ(), victimMark+"=1")
	require.NoError(t, victim.Start())
	t.Cleanup(func() { _ = victim.Process.Kill() })

	has := func(list []Service, want Health) bool {
		for _, s := range list {
			if s.ID == "victim" {
				return s.Health == want
			}
		}
		return want == ""
	}
	await := func(want Health) {
		t.Helper()
		for !has(next(t, watch), want) {
		}
	}
	await(Passing)
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Join(dir, leadersDir, "lock.fence"))
		return err == nil
	}, patience, tick, "the victim never led")

	require.NoError(t, victim.Process.Kill())
	require.Error(t, victim.Wait())
	leadership, err := f.Campaign(t.Context(), "lock")
	require.NoError(t, err, "the lock of a dead leader is free")
	defer leadership.Release()
	require.EqualValues(t, 2, leadership.Fence)
	await(Critical)
	await("")
	require.Eventually(t, func() bool {
		list, err := f.Services(t.Context(), SFUService)
		return err == nil && sameServices(list, []Service{someService("witness")})
	}, patience, tick, "who beats stays")
}

func TestServiceThatExpiredComesBackWithItsHeartbeat(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, quick)
	require.NoError(t, f.Register(t.Context(), someService("sfu-1")))
	watch := f.WatchServices(t.Context(), SFUService)
	next(t, watch)
	require.NoError(t, os.Remove(f.servicePath(SFUService, "sfu-1")))
	require.Eventually(t, func() bool {
		list, err := f.Services(t.Context(), SFUService)
		return err == nil && len(list) == 1
	}, patience, tick)
}

func TestPollingReplacesMissingNotifications(t *testing.T) {
	dir := t.TempDir()
	a, b := open(t, dir, quick), open(t, dir, quick)
	require.NoError(t, b.notify.Close())
	key, services := b.Watch(t.Context(), "key"), b.WatchServices(t.Context(), SFUService)
	require.Empty(t, next(t, services))
	entry, err := a.CompareAndSet(t.Context(), "key", []byte("1"), 0)
	require.NoError(t, err)
	require.Equal(t, entry, next(t, key))
	require.NoError(t, a.Register(t.Context(), someService("sfu-1")))
	require.Len(t, next(t, services), 1)
}

func TestDamagedFilesAreReportedAndNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir, normalPace)
	for name, content := range map[string]string{
		"truncated": `{"key":"trunc`, "empty": ``, "other": `{"key":"different","index":3,"value":""}`, "no-index": `{"key":"no-index"}`,
	} {
		path := f.path(kvDir, name)
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		_, err := f.Get(t.Context(), name)
		require.ErrorContains(t, err, "damaged")
		require.NotErrorIs(t, err, ErrNotFound)
		_, err = f.CompareAndSet(t.Context(), name, []byte("x"), 0)
		require.ErrorContains(t, err, "damaged")
		require.ErrorContains(t, f.Delete(t.Context(), name, 3), "damaged")
		_, err = f.List(t.Context(), name)
		require.ErrorContains(t, err, "damaged")
		kept, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, content, string(kept))
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, kvIndexFile), []byte("many"), 0o600))
	_, err := f.CompareAndSet(t.Context(), "fine", []byte("x"), 0)
	require.ErrorContains(t, err, "damaged")
	require.NoError(t, os.WriteFile(filepath.Join(dir, leadersDir, "lock.fence"), []byte("-1"), 0o600))
	_, err = f.Campaign(t.Context(), "lock")
	require.ErrorContains(t, err, "damaged")
	require.NoError(t, os.WriteFile(f.servicePath(SFUService, "sfu-1"), []byte("["), 0o600))
	_, err = f.Services(t.Context(), SFUService)
	require.ErrorContains(t, err, "damaged")
}

func TestFolderIgnoresForeignFiles(t *testing.T) {
	f := open(t, t.TempDir(), normalPace)
	for _, sub := range []string{kvDir, servicesDir} {
		require.NoError(t, os.WriteFile(filepath.Join(f.dir, sub, "notes.txt"), []byte("hello"), 0o600))
	}
	entries, err := f.List(t.Context(), "")
	require.NoError(t, err)
	require.Empty(t, entries)
	services, err := f.Services(t.Context(), SFUService)
	require.NoError(t, err)
	require.Empty(t, services)
}

func TestFolderThatCannotBeMadeIsAnError(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := OpenFolder(file)
	require.ErrorContains(t, err, "discovery folder")
}

func TestNoTemporaryFileIsLeft(t *testing.T) {
	f := open(t, t.TempDir(), normalPace)
	_, err := f.CompareAndSet(t.Context(), "key", []byte(strings.Repeat("v", 1000)), 0)
	require.NoError(t, err)
	require.NoError(t, os.Mkdir(f.path(kvDir, "blocked"), 0o700))
	require.Error(t, f.replace(f.path(kvDir, "blocked"), []byte("x")))
	left, err := os.ReadDir(filepath.Join(f.dir, tempDir))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCallsEndWithTheirContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, d := range map[string]Discovery{"memory": NewMemory(), "folder": open(t, t.TempDir(), normalPace)} {
		_, get := d.Get(ctx, "key")
		_, set := d.CompareAndSet(ctx, "key", nil, 0)
		_, services := d.Services(ctx, SFUService)
		_, campaign := d.Campaign(ctx, "lock")
		for _, err := range []error{
			get, set, services, campaign, d.Delete(ctx, "key", 0), d.Register(ctx, someService("a")),
			d.Deregister(ctx, SFUService, "a"), d.SetMaintenance(ctx, "node-1", true, ""),
		} {
			require.ErrorIs(t, err, context.Canceled, name)
		}
	}
}
