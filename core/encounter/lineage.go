package encounter

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/wardline/wardline/core/signaling"
)

// Bounds of what orders the copies of a record. A revision made of a term and a version stays below 2^53, the largest
// whole number that every reader of JSON keeps exact.
const (
	MaxTerm    = 1<<21 - 1
	MaxVersion = 1<<32 - 1
	// MaxHomes bounds the regions that keep one record.
	MaxHomes = 16
	// MaxPast bounds the earlier lines a record remembers. What a region wrote more lines ago than that counts as known.
	MaxPast = 64
)

// Stamp names one state of a record that is kept in several regions: write number Version, made in Region under Term. The
// writes of one term are made in one region by compare-and-set, so they are one line without branches.
type Stamp struct {
	Region  string `json:"r"`
	Term    uint64 `json:"t"`
	Version uint64 `json:"v"`
}

// Compare orders stamps by term, then version. Stamps of two regions under one term are possible only if records were
// created under different Homes; then the names decide.
func (s Stamp) Compare(o Stamp) int {
	return cmp.Or(cmp.Compare(s.Term, o.Term), cmp.Compare(s.Version, o.Version), cmp.Compare(s.Region, o.Region))
}

// Revision is the stamp as one number that grows with every write and every term.
func (s Stamp) Revision() uint64 { return s.Term<<32 | s.Version }

func (s Stamp) sameLine(o Stamp) bool { return s.Region == o.Region && s.Term == o.Term }

// Stamp returns which state of the record this is.
func (e *Encounter) Stamp() Stamp {
	return Stamp{Region: e.Writer(), Term: e.Term, Version: e.Version}
}

// Writer returns the one region that writes under the record's term, "" if the record has no Homes.
func (e *Encounter) Writer() string {
	if len(e.Homes) == 0 {
		return ""
	}
	return e.Homes[e.Term%uint64(len(e.Homes))]
}

// NextTerm returns the smallest term above another under which a region writes, false if it is not among homes or no
// term is left.
func NextTerm(homes []string, region string, above uint64) (uint64, bool) {
	at := slices.Index(homes, region)
	if at < 0 || above >= MaxTerm {
		return 0, false
	}
	count := uint64(len(homes))
	term := above - above%count + uint64(at)
	if term <= above {
		term += count
	}
	return term, term <= MaxTerm
}

// Knows reports whether the record has everything that was written up to s.
func (e *Encounter) Knows(s Stamp) bool {
	if own := e.Stamp(); own.sameLine(s) {
		return s.Version <= own.Version
	}
	for _, past := range e.Past {
		if past.sameLine(s) {
			return s.Version <= past.Version
		}
	}
	return len(e.Past) == MaxPast && s.Term < e.Past[0].Term
}

// Remember notes that the record has everything written up to the stamps.
func (e *Encounter) Remember(stamps ...Stamp) {
	past := slices.Clone(e.Past)
	for _, s := range stamps {
		if s.sameLine(e.Stamp()) {
			continue
		}
		at := slices.IndexFunc(past, s.sameLine)
		if at < 0 {
			past = append(past, s)
			continue
		}
		past[at].Version = max(past[at].Version, s.Version)
	}
	slices.SortFunc(past, Stamp.Compare)
	e.Past = past[max(0, len(past)-MaxPast):]
}

// checkLineage refuses what no store writes.
func (e *Encounter) checkLineage() error {
	if len(e.Homes) > MaxHomes || len(e.Past) > MaxPast {
		return fmt.Errorf("%d homes, at most %d; %d past lines, at most %d", len(e.Homes), MaxHomes, len(e.Past), MaxPast)
	}
	for i, region := range e.Homes {
		if !signaling.ValidID(region) || slices.Contains(e.Homes[:i], region) {
			return fmt.Errorf("home %.70q: an id, each region once", region)
		}
	}
	if !e.Stamp().inRange() {
		return fmt.Errorf("term %d, at most %d; version %d, at most %d", e.Term, MaxTerm, e.Version, MaxVersion)
	}
	for i, past := range e.Past {
		if !past.inRange() || past.Term > e.Term || i > 0 && past.Compare(e.Past[i-1]) <= 0 {
			return fmt.Errorf("past term %d version %d: in order, not above term %d", past.Term, past.Version, e.Term)
		}
	}
	return nil
}

func (s Stamp) inRange() bool { return s.Term <= MaxTerm && s.Version <= MaxVersion }

// Bury leaves nothing of a deleted record but what a copy that was written apart has to know: that it has ended or was vacated,
// was locked or encrypted, and who was removed.
func (e *Encounter) Bury() {
	e.Gone, e.Placement = true, Placement{}
	participants := e.Participants
	e.Participants = nil
	for id, p := range participants {
		if p.State == Removed {
			e.put(id, Participant{Role: p.Role, State: Removed})
		}
	}
}

// Clone returns a copy that shares nothing with e.
func (e *Encounter) Clone() Encounter {
	c := *e
	c.Regions, c.Homes, c.Past = slices.Clone(e.Regions), slices.Clone(e.Homes), slices.Clone(e.Past)
	c.Participants = maps.Clone(e.Participants)
	for id, p := range c.Participants {
		c.Participants[id] = p.clone()
	}
	return c
}

func (p Participant) clone() Participant {
	p.Badge, p.Sessions, p.RTT = slices.Clone(p.Badge), maps.Clone(p.Sessions), maps.Clone(p.RTT)
	return p
}
