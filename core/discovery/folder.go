package discovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pace is how fast a Folder notices things.
type pace struct {
	// beat is how often a process shows that its services live.
	beat time.Duration
	// critical is the silence after which a service is critical, gone the one after which it vanishes.
	critical, gone time.Duration
	// poll is how often everything watched is read again; it is all there is where fsnotify is not available.
	poll time.Duration
	// campaign is how often a candidate tries for a leader lock.
	campaign time.Duration
}

var normalPace = pace{
	beat:     time.Second,
	critical: 3 * time.Second,
	gone:     8 * time.Second,
	poll:     500 * time.Millisecond,
	campaign: 50 * time.Millisecond,
}

// Names inside the folder.
const (
	kvDir          = "kv"
	servicesDir    = "services"
	maintenanceDir = "maintenance"
	leadersDir     = "leaders"
	tempDir        = "tmp"
	kvLockFile     = "kv.lock"
	kvIndexFile    = "kv.index"
	fileSuffix     = ".json"
)

// Folder is Discovery for several processes of one machine that share a folder.
//
// Each key, service and node in maintenance is one file, replaced by an atomic rename. Writers of keys
// take turns by flock. A service whose process died turns critical after 3 s without a heartbeat and
// vanishes after 8 s. Files survive the end of a process but are not synced: after a power failure
// no call is left to find.
type Folder struct {
	dir  string
	pace pace

	keys  *watchers[Entry]
	lists *watchers[[]Service]

	// writing serializes this process's writers of keys, so that at most one thread waits for the flock.
	writing sync.Mutex

	mu  sync.Mutex
	own map[string]Service // what this process registered, by file path

	notify *fsnotify.Watcher // nil where fsnotify is not available
	stop   chan struct{}
	done   chan struct{}
	closed func() error
}

// OpenFolder joins the discovery folder dir, which is created if need be. Close ends it.
func OpenFolder(dir string) (*Folder, error) { return openFolder(dir, normalPace) }

func openFolder(dir string, p pace) (*Folder, error) {
	for _, sub := range []string{kvDir, servicesDir, maintenanceDir, leadersDir, tempDir} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o700); err != nil {
			return nil, fmt.Errorf("discovery folder: %w", err)
		}
	}
	f := &Folder{
		dir:  dir,
		pace: p,
		own:  make(map[string]Service),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	f.keys = newWatchers(f.readForWatch, sameEntry, true)
	f.lists = newWatchers(func(name string) ([]Service, bool) {
		list, err := f.list(name)
		return list, err == nil
	}, sameServices, false)
	f.notify = watchFolders(filepath.Join(dir, kvDir), filepath.Join(dir, servicesDir), filepath.Join(dir, maintenanceDir))
	f.closed = sync.OnceValue(f.close)
	go f.run()
	return f, nil
}

// watchFolders returns nil if the system has no (more) file notifications to give: polling does then.
func watchFolders(dirs ...string) *fsnotify.Watcher {
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		return nil
	}
	for _, dir := range dirs {
		if err := notify.Add(dir); err != nil {
			_ = notify.Close() // polling takes over: nothing is lost with it
			return nil
		}
	}
	return notify
}

// Close removes this process's services, ends its watches and waits for its goroutine.
func (f *Folder) Close() error { return f.closed() }

func (f *Folder) close() error {
	close(f.stop)
	<-f.done
	f.mu.Lock()
	own := f.own
	f.own = nil
	f.mu.Unlock()
	var errs []error
	for path := range own {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if f.notify != nil {
		errs = append(errs, f.notify.Close())
	}
	f.keys.closeAll()
	f.lists.closeAll()
	return errors.Join(errs...)
}

// run keeps services alive and watches fresh until Close.
func (f *Folder) run() {
	defer close(f.done)
	beat := time.NewTicker(f.pace.beat)
	defer beat.Stop()
	poll := time.NewTicker(f.pace.poll)
	defer poll.Stop()
	var events chan fsnotify.Event
	var overflow chan error
	if f.notify != nil {
		events, overflow = f.notify.Events, f.notify.Errors
	}
	for {
		select {
		case <-f.stop:
			return
		case <-beat.C:
			f.heartbeat()
		case <-poll.C:
			f.refreshAll()
		case _, open := <-overflow:
			if !open {
				overflow = nil
			}
			f.refreshAll()
		case event, open := <-events:
			if !open {
				events = nil
				continue
			}
			f.changed(event)
		}
	}
}

func (f *Folder) refreshAll() {
	f.keys.refreshAll()
	f.lists.refreshAll()
}

// changed refreshes what one file notification is about.
func (f *Folder) changed(event fsnotify.Event) {
	if event.Op == fsnotify.Chmod { // heartbeats
		return
	}
	if filepath.Base(filepath.Dir(event.Name)) != kvDir {
		f.lists.refreshAll()
		return
	}
	if key, ok := nameOf(filepath.Base(event.Name)); ok {
		f.keys.refresh(key)
	}
}

// path returns the file of a name inside a sub-folder.
func (f *Folder) path(sub, name string) string {
	return filepath.Join(f.dir, sub, url.PathEscape(name)+fileSuffix)
}

// nameOf is the inverse of path for the last element.
func nameOf(file string) (string, bool) {
	escaped, ok := strings.CutSuffix(file, fileSuffix)
	if !ok {
		return "", false
	}
	name, err := url.PathUnescape(escaped)
	return name, err == nil
}

// replace writes a file so that readers see the old content or the new, nothing between.
func (f *Folder) replace(path string, data []byte) error {
	temp, err := f.writeTemp(data)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err == nil {
		return nil
	}
	if temp != "" {
		err = errors.Join(err, os.Remove(temp))
	}
	return fmt.Errorf("write %s: %w", filepath.Base(path), err)
}

// writeTemp returns the name of a new file, also with an error if there is something to remove.
func (f *Folder) writeTemp(data []byte) (string, error) {
	temp, err := os.CreateTemp(filepath.Join(f.dir, tempDir), "*")
	if err != nil {
		return "", err
	}
	_, err = temp.Write(data)
	return temp.Name(), errors.Join(err, temp.Close())
}

// Watch implements KV.
func (f *Folder) Watch(ctx context.Context, key string) <-chan Entry { return f.keys.add(ctx, key) }

// WatchServices implements Catalog.
func (f *Folder) WatchServices(ctx context.Context, name string) <-chan []Service {
	return f.lists.add(ctx, name)
}
