// Package snapshot copies a Vault's storage to a file and back. A snapshot is sealed as the storage is: nobody reads it
// without the key of the seal, and with that key it is everything the Vault kept.
package snapshot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/hashicorp/vault/api"
)

// Errors of Take and Restore, wrapped with what was asked for.
var (
	// ErrStalled says that Vault sent or took nothing for a while.
	ErrStalled = errors.New("vault stalled")
	// ErrOtherKeys says that a snapshot was taken under another seal key than the Vault has: it needs force.
	ErrOtherKeys = errors.New("the snapshot was taken under other unseal keys")
)

const (
	defaultStall = time.Minute
	// applied is how long Vault may take with what it has got.
	applied = 15 * time.Minute
	// look is how often it is asked whether it is done.
	look = 100 * time.Millisecond
)

// fileName is what FileName makes.
var fileName = regexp.MustCompile(`^vault-\d{8}T\d{6}Z\.snap$`)

// Options are those of a transfer.
type Options struct {
	// Progress, if not nil, is told how many bytes have passed so far.
	Progress func(bytes int64)
	// Stall is how long the transfer may stand still before it is given up with ErrStalled; zero means a minute.
	Stall time.Duration
	// Force restores what was taken under other unseal keys, such as those of a Vault that is gone. Restore only.
	Force bool
}

// Take writes a snapshot to path, which appears or is replaced once the snapshot is complete and has been checked;
// only its owner may read it.
func Take(ctx context.Context, client *api.Client, path string, o Options) (Info, error) {
	leader, err := toLeader(ctx, client)
	if err != nil {
		return Info{}, err
	}
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(0o600))
	if err != nil {
		return Info{}, fmt.Errorf("take snapshot: %w", err)
	}
	defer func() { _ = file.Cleanup() }() // after success there is nothing to clean
	ctx, moving, stop := o.watchdog(ctx)
	defer stop()
	err = leader.Sys().RaftSnapshotWithContext(ctx, writer{file, moving})
	if err != nil && !errors.Is(err, api.ErrIncompleteSnapshot) { // what is incomplete about it is said below
		return Info{}, fmt.Errorf("take snapshot: %w", reason(ctx, err))
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return Info{}, fmt.Errorf("take snapshot: %w", err)
	}
	info, err := Check(file)
	if err != nil {
		return Info{}, fmt.Errorf("take snapshot: what Vault sent is %w", err)
	}
	if err := file.CloseAtomicallyReplace(); err != nil {
		return Info{}, fmt.Errorf("take snapshot: %w", err)
	}
	return info, nil
}

// CheckFile is Check of a file.
func CheckFile(path string) (Info, error) {
	file, err := os.Open(path)
	if err != nil {
		return Info{}, fmt.Errorf("snapshot: %w", err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	info, err := Check(file)
	if err != nil {
		return Info{}, fmt.Errorf("%s: %w", path, err)
	}
	return info, nil
}

// Restore checks a snapshot, replaces all that a Vault keeps by it, and returns once that is done. A Vault with other
// unseal keys than the snapshot was taken under is sealed then: it opens with those of the snapshot. The client needs a
// token that may do everything, as root's.
func Restore(ctx context.Context, client *api.Client, path string, o Options) (info Info, sealed bool, err error) {
	info, err = CheckFile(path)
	if err != nil {
		return Info{}, false, err
	}
	leader, err := toLeader(ctx, client)
	if err != nil {
		return Info{}, false, err
	}
	file, err := os.Open(path)
	if err != nil {
		return Info{}, false, fmt.Errorf("restore snapshot: %w", err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	ctx, moving, stop := o.watchdog(ctx)
	defer stop()
	if _, err := leader.Logical().WriteWithContext(ctx, marker, map[string]any{"restoring": true}); err != nil {
		return Info{}, false, fmt.Errorf("restore snapshot: vault %s: %w", marker, reason(ctx, err))
	}
	if err := leader.Sys().RaftSnapshotRestoreWithContext(ctx, reader{file, moving}, o.Force); err != nil {
		return Info{}, false, fmt.Errorf("restore snapshot: %w", reason(ctx, err))
	}
	sealed, err = restored(ctx, leader)
	if err != nil {
		return Info{}, false, fmt.Errorf("restore snapshot: Vault took it, and then: %w", reason(ctx, err))
	}
	return info, sealed, nil
}

// marker is something in Vault that is gone once a snapshot has replaced it: Vault answers before it has restored.
const marker = "cubbyhole/wardline-restore"

// restored waits until Vault has replaced what it kept, and reports whether it is sealed then.
func restored(ctx context.Context, client *api.Client) (sealed bool, err error) {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for {
		if status, err := client.Sys().SealStatusWithContext(ctx); err == nil && status.Sealed {
			return true, nil
		}
		found, err := client.Logical().ReadWithContext(ctx, marker)
		refusal, refused := errors.AsType[*api.ResponseError](err)
		if err == nil && found == nil || refused && refusal.StatusCode == http.StatusForbidden {
			return false, nil // also where the token is not of the snapshot's time
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// toLeader returns a client for the active node: a standby does not forward snapshots as it does requests.
func toLeader(ctx context.Context, client *api.Client) (*api.Client, error) {
	found, err := client.Sys().LeaderWithContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("vault sys/leader: %w", reason(ctx, err))
	}
	switch {
	case found.IsSelf || !found.HAEnabled:
		return client, nil
	// The token goes there, so it must be an address that proves itself.
	case !strings.HasPrefix(found.LeaderAddress, "https://"):
		return nil, fmt.Errorf("vault sys/leader: no https address of an active node: is it sealed? (address %.80q)", found.LeaderAddress)
	}
	leader, err := client.CloneWithHeaders()
	if err != nil {
		return nil, err
	}
	leader.SetToken(client.Token())
	if err := leader.SetAddress(found.LeaderAddress); err != nil {
		return nil, fmt.Errorf("vault sys/leader: %w", err)
	}
	return leader, nil
}

// reason says why a transfer ended, in one line.
func reason(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if response, ok := errors.AsType[*api.ResponseError](err); ok {
		text := strings.Join(response.Errors, "; ")
		if strings.Contains(text, "could not verify hash file") {
			return ErrOtherKeys
		}
		return fmt.Errorf("vault answered %d: %s", response.StatusCode, strings.Join(strings.Fields(text), " "))
	}
	return err
}

// watchdog ends a transfer that stands still. moving is told of each piece; io.EOF means that the last one was sent.
func (o Options) watchdog(ctx context.Context) (limited context.Context, moving func(n int, err error), stop func()) {
	limited, cancel := context.WithCancelCause(ctx)
	stall := cmp.Or(o.Stall, defaultStall)
	timer := time.AfterFunc(stall, func() { cancel(fmt.Errorf("%w: nothing for %s", ErrStalled, stall)) })
	var total int64
	moving = func(n int, err error) {
		rest := stall
		if errors.Is(err, io.EOF) {
			rest = applied
		}
		timer.Reset(rest)
		total += int64(n)
		if o.Progress != nil {
			o.Progress(total)
		}
	}
	return limited, moving, func() {
		timer.Stop()
		cancel(nil)
	}
}

type writer struct {
	w      io.Writer
	moving func(int, error)
}

func (w writer) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	w.moving(n, err)
	return n, err
}

type reader struct {
	r      io.Reader
	moving func(int, error)
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.moving(n, err)
	return n, err
}

// FileName is what a snapshot taken at a time is called in a folder of several.
func FileName(at time.Time) string {
	return "vault-" + at.UTC().Format("20060102T150405Z") + ".snap"
}

// clockTolerance is how far apart the clocks of those who take snapshots may be.
const clockTolerance = time.Hour

// Prune removes all but the newest so many of a folder's snapshots, by their names, and returns the names removed. Those of
// a time to come were taken while a clock was wrong: they count as the oldest, or none taken now would outlast them.
func Prune(dir string, keep int, now time.Time) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name, which is by time
	if err != nil {
		return nil, fmt.Errorf("old snapshots: %w", err)
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !fileName.MatchString(e.Name()) })
	latest := FileName(now.Add(clockTolerance))
	if i := slices.IndexFunc(entries, func(e os.DirEntry) bool { return e.Name() > latest }); i >= 0 {
		entries = slices.Concat(entries[i:], entries[:i])
	}
	var removed []string
	for _, entry := range entries[:max(0, len(entries)-keep)] {
		if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
			return removed, fmt.Errorf("old snapshots: %w", err)
		}
		removed = append(removed, entry.Name())
	}
	return removed, nil
}
