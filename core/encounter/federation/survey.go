package federation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/wardline/wardline/core/encounter"
)

// settleShare is the share of its patience that a survey still waits for the slow once the writing region has answered.
const settleShare = 4

// retryPause is before a region that refused at once is asked again: one reset connection is no lost region.
const retryPause = 25 * time.Millisecond

// answer is what a region said of a record. Without err, found tells whether it has a copy; with ErrDamaged it has one that
// cannot be read and is left alone.
type answer struct {
	region *region
	copy   encounter.Encounter // its Revision is the region's own index
	found  bool
	err    error
}

// survey is what all regions said of one record.
type survey struct {
	key      encounter.Key
	at       time.Time
	thorough bool
	answers  map[string]answer
	// witnesses are the regions of which one has to say that the record does not exist.
	witnesses []string
	// best is the highest copy, diverged are copies with writes that it lacks. One of them may be what this process has
	// seen and no region in reach has.
	best     encounter.Encounter
	exists   bool
	diverged []encounter.Encounter
}

// survey asks every region that may hold the record, side by side. It does not wait for regions out of reach, and only a
// thorough one waits as long as patience lasts for those that are slower than the others.
func (s *Store) survey(ctx context.Context, key encounter.Key, thorough bool) (*survey, error) {
	v := &survey{key: key, at: time.Now(), thorough: thorough, answers: make(map[string]answer)}
	regions := s.ownFirst()
	v.witnesses = regions[:1]
	if homes := s.homesFor(nil); homes[0] != s.config.Own {
		v.witnesses = []string{s.config.Own, homes[0]}
	}
	memory, known := s.memory(key)
	if known {
		regions, v.witnesses = memory.Homes, []string{s.config.Own, memory.Homes[0], memory.Writer()}
	}
	for len(regions) > 0 {
		if err := s.askAll(ctx, v, regions); err != nil {
			return nil, err
		}
		v.rank(memory, known)
		regions = v.unasked(v.best.Homes)
	}
	return v, nil
}

// complete asks those of the regions that were not asked yet.
func (s *Store) complete(ctx context.Context, v *survey, regions []string) error {
	return s.askAll(ctx, v, v.unasked(regions))
}

func (v *survey) unasked(regions []string) []string {
	var names []string
	for _, name := range regions {
		if _, asked := v.answers[name]; !asked {
			names = append(names, name)
		}
	}
	return names
}

// askAll adds the answers of regions. Unless the survey is thorough, regions get only a moment more once the writing region
// of the best copy and the own one have answered.
func (s *Store) askAll(ctx context.Context, v *survey, regions []string) error {
	answers := make(chan answer, len(regions))
	for _, name := range regions {
		r := s.region(name)
		v.answers[name] = answer{region: r, err: errSlow}
		// Not ended with ctx: whether a region is out of reach shows even if the caller does not wait so long.
		if !s.spawn(func() { answers <- s.read(s.life, r, v.key) }) {
			return unavailable(v.key, errClosed)
		}
	}
	var settled <-chan time.Time
	for range regions {
		select {
		case a := <-answers:
			if a.found {
				a.copy = promoted(a.copy, a.region.name, s.config.Order())
			}
			v.answers[a.region.name] = a
			v.rank(encounter.Encounter{}, false)
			if settled == nil && !v.thorough && v.enough(s.config.Own) {
				timer := time.NewTimer(s.config.Patience / settleShare)
				defer timer.Stop() //nolint:gocritic // at most one: settled is set below
				settled = timer.C
			}
		case <-settled:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("read encounter %s/%s: %w", v.key.Tenant, v.key.ID, ctx.Err())
		}
	}
	return nil
}

// enough reports whether the own region and the writing region have answered.
func (v *survey) enough(own string) bool {
	if a, asked := v.answers[own]; asked && a.err != nil {
		return false
	}
	writer, asked := v.answers[v.best.Writer()]
	return v.exists && asked && writer.err == nil
}

func (s *Store) read(ctx context.Context, r *region, key encounter.Key) answer {
	a := answer{region: r}
	a.err = s.ask(ctx, r, func(ctx context.Context) (err error) {
		a.copy, err = r.store.Get(ctx, key)
		if !answered(err) && rest(ctx, jitter(retryPause)) {
			a.copy, err = r.store.Get(ctx, key)
		}
		return err
	})
	a.found = a.err == nil
	if errors.Is(a.err, encounter.ErrNotFound) {
		a.err = nil
	}
	return a
}

// promoted gives a record that one region alone kept so far the homes of a federated one, that region first, and its index
// as version, so that its revision does not go back.
func promoted(e encounter.Encounter, region string, order []string) encounter.Encounter {
	if len(e.Homes) == 0 {
		e.Homes = []string{region}
		for _, name := range order {
			if name != region && len(e.Homes) < encounter.MaxHomes && e.Allows(name) {
				e.Homes = append(e.Homes, name)
			}
		}
	}
	if e.Version == 0 {
		e.Version = min(max(e.Revision, 1), encounter.MaxVersion)
	}
	return e
}

// rank finds the best copy and those with writes that it lacks. What this process remembers counts like a copy, unless the
// region that wrote it says that the record is gone.
func (v *survey) rank(memory encounter.Encounter, known bool) {
	var copies []encounter.Encounter
	for _, a := range v.answers {
		if a.found {
			copies = append(copies, a.copy)
		}
	}
	if writer := v.answers[memory.Writer()]; known && (len(copies) > 0 || writer.region == nil || writer.err != nil) {
		copies = append(copies, memory)
	}
	v.exists, v.diverged = len(copies) > 0, nil
	if !v.exists {
		v.best = encounter.Encounter{}
		return
	}
	slices.SortFunc(copies, func(a, b encounter.Encounter) int {
		return cmp.Or(b.Stamp().Compare(a.Stamp()), cmp.Compare(b.Revision, a.Revision))
	})
	v.best = copies[0]
	for _, c := range copies[1:] {
		if !v.best.Knows(c.Stamp()) {
			v.diverged = append(v.diverged, c)
		}
	}
}

// there reports whether there is a record: what is left of a deleted one is none.
func (v *survey) there() bool { return v.exists && !v.best.Gone }

// level reports whether every home is known to have the best copy.
func (v *survey) level() bool {
	for _, name := range v.best.Homes {
		a := v.answers[name]
		if !a.found || a.copy.Stamp() != v.best.Stamp() {
			return false
		}
	}
	return len(v.diverged) == 0
}

// united is the best copy with everything the others have beyond it.
func (v *survey) united() encounter.Encounter {
	e := v.best.Clone()
	for _, other := range v.diverged {
		e = encounter.Merge(e, other)
	}
	return e
}

// absence tells a record that does not exist from one that cannot be read now.
func (s *Store) absence(v *survey) error {
	var failures []error
	for name, a := range v.answers {
		if errors.Is(a.err, encounter.ErrDamaged) {
			return a.err
		}
		if a.err != nil {
			failures = append(failures, fmt.Errorf("region %s: %w", name, a.err))
		}
	}
	for _, name := range v.witnesses {
		if a, asked := v.answers[name]; asked && a.err == nil {
			return notFound(v.key)
		}
	}
	return unavailable(v.key, errors.Join(failures...))
}
