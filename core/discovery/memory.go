package discovery

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Memory is Discovery for components that share one process.
type Memory struct {
	keys  *watchers[Entry]
	lists *watchers[[]Service]

	mu          sync.Mutex
	index       uint64
	entries     map[string]Entry
	services    map[string]map[string]Service // by name, then id
	maintenance map[string]string             // reason by node
	locks       map[string]*memoryLock
}

// NewMemory returns an empty Memory. It runs no goroutine and needs no closing.
func NewMemory() *Memory {
	m := &Memory{
		entries:     make(map[string]Entry),
		services:    make(map[string]map[string]Service),
		maintenance: make(map[string]string),
		locks:       make(map[string]*memoryLock),
	}
	m.keys = newWatchers(func(key string) (Entry, bool) { return m.entry(key), true }, sameEntry, true)
	m.lists = newWatchers(func(name string) ([]Service, bool) { return m.list(name), true }, sameServices, false)
	return m
}

// Services implements Catalog.
func (m *Memory) Services(ctx context.Context, name string) ([]Service, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return m.list(name), nil
}

// WatchServices implements Catalog.
func (m *Memory) WatchServices(ctx context.Context, name string) <-chan []Service {
	return m.lists.add(ctx, name)
}

// Register implements Registrar.
func (m *Memory) Register(ctx context.Context, s Service) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := checked(s)
	if err != nil {
		return err
	}
	s.Meta = maps.Clone(s.Meta)
	m.mu.Lock()
	if m.services[s.Name] == nil {
		m.services[s.Name] = make(map[string]Service)
	}
	m.services[s.Name][s.ID] = s
	m.mu.Unlock()
	m.lists.refresh(s.Name)
	return nil
}

// Deregister implements Registrar.
func (m *Memory) Deregister(ctx context.Context, name, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	_, known := m.services[name][id]
	delete(m.services[name], id)
	m.mu.Unlock()
	if !known {
		return fmt.Errorf("%s %s: %w", name, id, ErrNotFound)
	}
	m.lists.refresh(name)
	return nil
}

// SetMaintenance implements Maintenance.
func (m *Memory) SetMaintenance(ctx context.Context, node string, on bool, reason string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	known := m.knows(node)
	if known && on {
		m.maintenance[node] = reason
	} else if known {
		delete(m.maintenance, node)
	}
	m.mu.Unlock()
	if !known {
		return fmt.Errorf("node %s: %w", node, ErrNotFound)
	}
	m.lists.refreshAll()
	return nil
}

// knows reports whether any instance runs on the node; the caller holds the lock.
func (m *Memory) knows(node string) bool {
	for _, instances := range m.services {
		for _, s := range instances {
			if s.Node == node {
				return true
			}
		}
	}
	return false
}

func (m *Memory) list(name string) []Service {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make([]Service, 0, len(m.services[name]))
	for _, s := range m.services[name] {
		_, inMaintenance := m.maintenance[s.Node]
		s.Maintenance = s.Maintenance || inMaintenance
		s.Meta = maps.Clone(s.Meta)
		out = append(out, s)
	}
	slices.SortFunc(out, byID)
	return out
}

func byID(a, b Service) int { return cmp.Compare(a.ID, b.ID) }

// Get implements KV.
func (m *Memory) Get(ctx context.Context, key string) (Entry, error) {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return Entry{}, err
	}
	entry := m.entry(key)
	if entry.Index == 0 {
		return Entry{}, fmt.Errorf("key %s: %w", key, ErrNotFound)
	}
	return entry, nil
}

// entry returns a copy of the key's entry, with Index 0 if there is none.
func (m *Memory) entry(key string) Entry {
	m.mu.Lock()
	defer m.mu.Unlock()
	entry := m.entries[key]
	return Entry{Key: key, Value: bytes.Clone(entry.Value), Index: entry.Index}
}

// CompareAndSet implements KV.
func (m *Memory) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (Entry, error) {
	if err := cmp.Or(ctx.Err(), checkWrite(key, value)); err != nil {
		return Entry{}, err
	}
	m.mu.Lock()
	if held := m.entries[key].Index; held != index {
		m.mu.Unlock()
		return Entry{}, conflict(key, index, held)
	}
	m.index++
	entry := Entry{Key: key, Value: append([]byte{}, value...), Index: m.index}
	m.entries[key] = entry
	m.mu.Unlock()
	m.keys.refresh(key)
	return Entry{Key: key, Value: bytes.Clone(entry.Value), Index: entry.Index}, nil
}

func conflict(key string, wanted, held uint64) error {
	return fmt.Errorf("key %s: %w: index is %d, not %d", key, ErrConflict, held, wanted)
}

// Delete implements KV.
func (m *Memory) Delete(ctx context.Context, key string, index uint64) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	m.mu.Lock()
	held := m.entries[key].Index
	if held == index {
		delete(m.entries, key)
	}
	m.mu.Unlock()
	if held != 0 && held != index {
		return conflict(key, index, held)
	}
	m.keys.refresh(key)
	return nil
}

// List implements KV.
func (m *Memory) List(ctx context.Context, prefix string) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Entry
	for key, entry := range m.entries {
		if strings.HasPrefix(key, prefix) {
			out = append(out, Entry{Key: key, Value: bytes.Clone(entry.Value), Index: entry.Index})
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

// Watch implements KV.
func (m *Memory) Watch(ctx context.Context, key string) <-chan Entry {
	return m.keys.add(ctx, key)
}

// memoryLock is a leader lock: whoever fills the channel holds it.
type memoryLock struct {
	held  chan struct{}
	fence uint64 // guarded by held
}

// Campaign implements Elector.
func (m *Memory) Campaign(ctx context.Context, name string) (Leadership, error) {
	if err := cmp.Or(ctx.Err(), CheckName("lock", name)); err != nil {
		return Leadership{}, err
	}
	m.mu.Lock()
	lock := m.locks[name]
	if lock == nil {
		lock = &memoryLock{held: make(chan struct{}, 1)}
		m.locks[name] = lock
	}
	m.mu.Unlock()
	select {
	case lock.held <- struct{}{}:
	case <-ctx.Done():
		return Leadership{}, fmt.Errorf("campaign for %s: %w", name, ctx.Err())
	}
	lock.fence++
	lost := make(chan struct{})
	release := sync.OnceFunc(func() {
		close(lost)
		<-lock.held
	})
	return Leadership{Fence: lock.fence, Lost: lost, Release: release}, nil
}
