package federation

import (
	"time"

	"github.com/wardline/wardline/core/encounter"
)

const (
	// recentFor is how long a survey serves the write that follows a read: it spares that a round trip, and each region
	// still checks that its own copy is the one surveyed.
	recentFor = time.Second
	maxRecent = 256
)

// keep keeps the survey of a read for the write that may follow.
func (s *Store) keep(v *survey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recent) >= maxRecent {
		clear(s.recent)
	}
	s.recent[v.key] = v
}

// kept returns the survey that e was read from, nil if it is no longer there. It is not to be changed.
func (s *Store) kept(e encounter.Encounter) *survey {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.recent[e.Key]
	if v == nil || v.best.Stamp().Revision() != e.Revision || time.Since(v.at) > recentFor || v.answers[v.best.Writer()].err != nil {
		return nil
	}
	return v
}

func (s *Store) drop(key encounter.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.recent, key)
}

// memo is the newest copy of a record that somebody in this process has seen, kept while they watch it. It counts as one
// more copy: nobody here ever sees the record go back, even if the region that wrote last is out of reach.
type memo struct {
	watches int
	newest  encounter.Encounter
	known   bool
}

// hold keeps a memo of the record until release.
func (s *Store) hold(key encounter.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memos[key] == nil {
		s.memos[key] = &memo{}
	}
	s.memos[key].watches++
}

func (s *Store) release(key encounter.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.memos[key].watches--
	if s.memos[key].watches == 0 {
		delete(s.memos, key)
	}
}

// remember takes note of a copy that knows all that was seen before. It returns the newest copy seen, and whether it
// has everything of e. A deletion is no copy, and ends what was seen.
func (s *Store) remember(e encounter.Encounter) (encounter.Encounter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.memos[e.Key]
	if m == nil {
		return e, true
	}
	if e.Gone && (!m.known || e.Knows(m.newest.Stamp())) {
		m.newest, m.known = encounter.Encounter{}, false
		return e, true
	}
	if !m.known || m.newest.Stamp().Compare(e.Stamp()) < 0 && e.Knows(m.newest.Stamp()) {
		m.newest, m.known = e.Clone(), true
	}
	return m.newest, m.newest.Knows(e.Stamp())
}

// memory returns the newest copy seen of a record that is watched. It is not to be changed.
func (s *Store) memory(key encounter.Key) (encounter.Encounter, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.memos[key]; m != nil && m.known {
		return m.newest, true
	}
	return encounter.Encounter{}, false
}

// forget drops what was seen of a deleted record.
func (s *Store) forget(key encounter.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.memos[key]; m != nil {
		m.newest, m.known = encounter.Encounter{}, false
	}
	delete(s.uneven, key)
}
