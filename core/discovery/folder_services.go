package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Services implements Catalog.
func (f *Folder) Services(ctx context.Context, name string) ([]Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return f.list(name)
}

func (f *Folder) list(name string) ([]Service, error) {
	out := []Service{}
	err := f.eachService(func(s Service) {
		if s.Name == name {
			out = append(out, s)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, byID)
	return out, nil
}

// eachService calls visit with every instance in the folder, health and maintenance as of now.
func (f *Folder) eachService(visit func(Service)) error {
	files, err := os.ReadDir(filepath.Join(f.dir, servicesDir))
	if err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	for _, file := range files {
		if !strings.HasSuffix(file.Name(), fileSuffix) {
			continue
		}
		s, err := f.service(filepath.Join(f.dir, servicesDir, file.Name()))
		if errors.Is(err, fs.ErrNotExist) { // gone since, or silent for too long
			continue
		}
		if err != nil {
			return err
		}
		visit(s)
	}
	return nil
}

// service reads an instance's file, whose modification time is its last heartbeat.
func (f *Folder) service(path string) (Service, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Service{}, err
	}
	silent := time.Since(info.ModTime())
	if silent > f.pace.gone {
		// A process that was only suspended writes the file again with its next heartbeat.
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Service{}, fmt.Errorf("remove expired service: %w", err)
		}
		return Service{}, fs.ErrNotExist
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return Service{}, err
	}
	var s Service
	if err := json.Unmarshal(data, &s); err != nil {
		return Service{}, fmt.Errorf("service file %s: damaged: %w", filepath.Base(path), err)
	}
	if silent > f.pace.critical {
		s.Health = Critical
	}
	if _, err := os.Stat(f.path(maintenanceDir, s.Node)); err == nil {
		s.Maintenance = true
	}
	return s, nil
}

// Register implements Registrar. The instance lives as long as this process, until Deregister or Close.
func (f *Folder) Register(ctx context.Context, s Service) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := checked(s)
	if err != nil {
		return err
	}
	s.Meta = maps.Clone(s.Meta)
	path := f.servicePath(s.Name, s.ID)
	f.mu.Lock()
	if f.own == nil {
		err = fmt.Errorf("register %s: %w: folder closed", s.ID, ErrUnavailable)
	} else if err = f.writeService(path, s); err == nil {
		f.own[path] = s
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	f.lists.refresh(s.Name)
	return nil
}

func (f *Folder) servicePath(name, id string) string { return f.path(servicesDir, name+"/"+id) }

func (f *Folder) writeService(path string, s Service) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("service %s: %w", s.ID, err)
	}
	return f.replace(path, data)
}

// Deregister implements Registrar. Any process may remove an instance that no longer beats; while its
// own process lives, the next heartbeat brings it back.
func (f *Folder) Deregister(ctx context.Context, name, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	path := f.servicePath(name, id)
	f.mu.Lock()
	delete(f.own, path)
	err := os.Remove(path)
	f.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s %s: %w", name, id, ErrNotFound)
	}
	if err != nil {
		return fmt.Errorf("deregister %s %s: %w", name, id, err)
	}
	f.lists.refresh(name)
	return nil
}

// heartbeat renews this process's services. A failure shows as their expiry, and the next beat tries again.
func (f *Folder) heartbeat() {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for path, s := range f.own {
		if err := os.Chtimes(path, now, now); errors.Is(err, fs.ErrNotExist) {
			_ = f.writeService(path, s)
		}
	}
}

// SetMaintenance implements Maintenance.
func (f *Folder) SetMaintenance(ctx context.Context, node string, on bool, reason string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	known := false
	if err := f.eachService(func(s Service) { known = known || s.Node == node }); err != nil {
		return err
	}
	if !known {
		return fmt.Errorf("node %.110s: %w", node, ErrNotFound)
	}
	if err := f.markMaintenance(f.path(maintenanceDir, node), on, reason); err != nil {
		return fmt.Errorf("maintenance of node %s: %w", node, err)
	}
	f.lists.refreshAll()
	return nil
}

func (f *Folder) markMaintenance(path string, on bool, reason string) error {
	if !on {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(map[string]string{"reason": reason})
	if err != nil {
		return err
	}
	return f.replace(path, data)
}

// Campaign implements Elector. The lock is a flock, so that the end of the leader's process frees it.
func (f *Folder) Campaign(ctx context.Context, name string) (Leadership, error) {
	if err := CheckName("lock", name); err != nil {
		return Leadership{}, err
	}
	retry := time.NewTicker(f.pace.campaign)
	defer retry.Stop()
	for {
		if err := ctx.Err(); err != nil {
			return Leadership{}, fmt.Errorf("campaign for %s: %w", name, err)
		}
		lock, err := tryLockFile(filepath.Join(f.dir, leadersDir, name+".lock"))
		if err != nil {
			return Leadership{}, fmt.Errorf("campaign for %s: %w", name, err)
		}
		if lock != nil {
			return f.lead(name, lock)
		}
		select {
		case <-ctx.Done():
		case <-retry.C:
		}
	}
}

func (f *Folder) lead(name string, lock *os.File) (Leadership, error) {
	fence, err := f.nextCount(filepath.Join(f.dir, leadersDir, name+".fence"))
	if err != nil {
		return Leadership{}, errors.Join(fmt.Errorf("campaign for %s: %w", name, err), lock.Close())
	}
	lost := make(chan struct{})
	release := sync.OnceFunc(func() {
		close(lost)
		_ = lock.Close() // frees the lock whatever it returns
	})
	return Leadership{Fence: fence, Lost: lost, Release: release}, nil
}
