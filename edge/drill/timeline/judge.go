package timeline

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/wardline/wardline/edge/drill/scenario"
)

// ErrNothingBroken says that events tell of no injection, so that there is nothing to judge.
var ErrNothingBroken = errors.New("nothing was broken")

// judge holds what the parts of a judgement share.
type judge struct {
	drill                 scenario.Drill
	events                []Event
	healing               []Event // from the beginning of healing
	inject, heal, end     time.Time
	before, outage, after map[Person]*View
	result                Result
}

// Judge says what the events of a run of the drill mean. The events may be in any order.
func Judge(d scenario.Drill, events []Event) (Result, error) {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int { return a.At.Compare(b.At) })
	if end := index(events, End); end >= 0 {
		events = events[:end+1] // clients are told to leave afterwards
	}
	inject, heal := index(events, Inject), index(events, Heal)
	if inject < 0 {
		return Result{}, ErrNothingBroken
	}
	if heal < 0 {
		heal = len(events) - 1
	}
	j := &judge{
		drill: d, events: events, inject: events[inject].At, heal: events[heal].At, end: events[len(events)-1].At, healing: events[heal:],
		before: Views(events[:inject]), outage: Views(events[:heal+1]), after: Views(events),
	}
	j.result = Result{
		InjectAt: j.inject, Injected: j.since(Injected), HealBegan: j.since(Heal), Healed: j.since(Healed),
		WholeAfter: j.since(Whole), Observed: Span(j.end.Sub(j.inject)),
	}
	for _, visit := range d.Visits {
		j.visit(visit)
	}
	j.spreads()
	j.checks()
	return j.result, nil
}

func index(events []Event, kind Kind) int {
	return slices.IndexFunc(events, func(e Event) bool { return e.Kind == kind })
}

func (j *judge) first(kind Kind) (time.Time, bool) {
	i := index(j.events, kind)
	if i < 0 {
		return time.Time{}, false
	}
	return j.events[i].At, true
}

func (j *judge) since(kind Kind) *Span {
	at, ok := j.first(kind)
	if !ok {
		return nil
	}
	return j.span(at)
}

func (j *judge) span(at time.Time) *Span {
	s := Span(at.Sub(j.inject))
	return &s
}

func (j *judge) visit(visit scenario.Visit) {
	r := VisitResult{Name: visit.Name, Rejoined: j.rejoined(visit)}
	for _, p := range visit.Participants {
		person := j.person(Person{visit.Name, p.Name}, p.Joins == scenario.Outage)
		r.Lost = r.Lost || person.Lost
		r.Resumed = r.Resumed || person.Detected != nil || person.LongestGap > 0
		j.result.People = append(j.result.People, person)
	}
	r.Resumed = r.Resumed && !r.Lost
	if r.Lost {
		j.result.Lost++
	}
	if r.Resumed {
		j.result.Resumed++
	}
	j.result.Visits = append(j.result.Visits, r)
}

func (j *judge) person(p Person, joiner bool) PersonResult {
	r := PersonResult{
		Visit: p.Visit, Participant: p.Participant, Joiner: joiner,
		Before: j.before[p].use(), Outage: j.outage[p].use(), After: j.after[p].use(),
	}
	v := j.after[p]
	if v == nil || v.FirstMedia().IsZero() {
		r.Lost, r.Why = true, "never had media"
		if v != nil && v.Ended {
			r.Why += ", its client ended: " + v.Why
		}
		return r
	}
	if joiner {
		joined := Span(v.FirstMedia().Sub(v.Started))
		r.JoinedIn = &joined
	} else {
		r.Detected, r.Replaced = j.signs(p, r.Before.Epoch)
	}
	gaps := after(v.Gaps(), j.inject)
	for _, gap := range gaps {
		length := Span(gap.Length(j.end))
		r.LongestGap = max(r.LongestGap, length)
		r.Gaps = append(r.Gaps, GapResult{
			From: *j.span(gap.From), To: *j.span(gap.From.Add(time.Duration(length))), Open: gap.To.IsZero(),
		})
	}
	r.FirstMedia = r.firstMedia()
	r.Lost, r.Why = j.lost(v, gaps, joiner)
	return r
}

// blip is the shortest gap that is an outage of its own. Shorter ones, which a client bridges and a busy machine has without
// any failure, count for the longest gap, and for recovery only where the participant was sent to another media server in them.
const blip = Span(300 * time.Millisecond)

// outage reports whether a gap is one that had to be recovered from.
func (r PersonResult) outage(g GapResult) bool {
	return g.Open || g.To-g.From >= blip || r.Replaced != nil && g.From <= *r.Replaced && g.To >= *r.Replaced
}

// firstMedia is the end of the longest outage.
func (r PersonResult) firstMedia() (first *Span) {
	longest := Span(-1)
	for _, g := range r.Gaps {
		if length := g.To - g.From; length > longest && r.outage(g) {
			longest, first = length, nil
			if !g.Open {
				first = &g.To
			}
		}
	}
	return first
}

// signs are the client's first sign of trouble and its first new placement.
func (j *judge) signs(p Person, epoch uint64) (detected, replaced *Span) {
	for _, e := range j.events {
		if e.At.Before(j.inject) || e.Visit != p.Visit || e.Participant != p.Participant {
			continue
		}
		moved := e.Kind == Placed && e.Epoch > epoch
		if detected == nil && (moved || e.Kind == Disconnected || e.Kind == MediaOff || e.Kind == Ended) {
			detected = j.span(e.At)
		}
		if moved {
			return detected, j.span(e.At)
		}
	}
	return detected, nil
}

// lost says whether a participant's visit is over for them: their client ended, or they had no media when they should have
// recovered or at the end.
func (j *judge) lost(v *View, gaps []Gap, joiner bool) (bool, string) {
	deadline := j.inject.Add(j.drill.Targets.RecoveredWithin)
	switch {
	case v.Ended:
		return true, "its client ended: " + v.Why
	case !v.Flowing():
		return true, "had no media at the end"
	case !joiner && slices.ContainsFunc(gaps, func(g Gap) bool {
		return g.contains(deadline) && Span(g.Length(j.end)) >= blip
	}):
		return true, fmt.Sprintf("had no media %s after the injection", j.drill.Targets.RecoveredWithin)
	}
	return false, ""
}

// rejoined is when the visit's participants were together for good, counted from healing.
func (j *judge) rejoined(visit scenario.Visit) *Span {
	views := Views(j.events[:len(j.events)-len(j.healing)])
	together, since := Together(visit, views), j.heal
	for _, e := range j.healing {
		if e.Visit != visit.Name {
			continue
		}
		p := Person{e.Visit, e.Participant}
		if views[p] == nil {
			views[p] = NewView(p)
		}
		views[p].Apply(e)
		if now := Together(visit, views); now != together {
			together, since = now, e.At
		}
	}
	if !together {
		return nil
	}
	span := Span(since.Sub(j.heal))
	return &span
}

// Together reports whether all participants of a visit use the same media server and hear each other.
func Together(visit scenario.Visit, views map[Person]*View) bool {
	sfu := ""
	for _, p := range visit.Participants {
		v := views[Person{visit.Name, p.Name}]
		if v == nil || v.SFU == "" || sfu != "" && v.SFU != sfu {
			return false
		}
		sfu = v.SFU
		for _, other := range visit.Participants {
			if other.Name != p.Name && !v.From(other.Name) {
				return false
			}
		}
	}
	return true
}

func (j *judge) spreads() {
	var replaced, media, gaps []*Span
	for i := range j.result.People {
		p := &j.result.People[i]
		if p.Joiner {
			continue
		}
		replaced, media, gaps = append(replaced, p.Replaced), append(media, p.FirstMedia), append(gaps, &p.LongestGap)
		j.result.Detect = earlier(j.result.Detect, p.Detected)
		j.result.Decide = earlier(j.result.Decide, p.Replaced)
	}
	j.result.Replaced, j.result.FirstMedia, j.result.LongestGap = spread(replaced), spread(media), spread(gaps)
}

func earlier(a, b *Span) *Span {
	if a == nil || b != nil && *b < *a {
		return b
	}
	return a
}

func (j *judge) checks() {
	t := j.drill.Targets
	j.check("visits lost", "at most "+strconv.Itoa(t.Lost), strconv.Itoa(j.result.Lost)+j.reasons(), j.result.Lost <= t.Lost)
	if t.LongestGap != nil {
		longest := j.result.LongestGap.Max
		j.check("longest media gap", "at most "+Span(*t.LongestGap).String(), longest.String(), longest <= Span(*t.LongestGap))
	}
	j.check("media again", "within "+Span(t.RecoveredWithin).String(), j.recovery(), !j.late())
	if t.JoinedWithin != nil {
		j.joiners(Span(*t.JoinedWithin))
	}
	if t.Signaling {
		silent := j.count(func(p PersonResult) bool { return !p.Outage.Signaling })
		j.check("signaling before healing", "everybody", ratio(len(j.result.People)-silent, len(j.result.People)), silent == 0)
	}
	if t.ResumedOn != scenario.Anywhere {
		elsewhere := j.count(func(p PersonResult) bool { return !p.Joiner && !resumedOn(t.ResumedOn, p) })
		all := j.count(func(p PersonResult) bool { return !p.Joiner })
		j.check("resumed on "+string(t.ResumedOn), "everybody", ratio(all-elsewhere, all), elsewhere == 0)
	}
	j.whole()
	if t.RejoinedWithin != nil {
		j.together(Span(*t.RejoinedWithin))
	}
	j.result.Met = !slices.ContainsFunc(j.result.Checks, func(c Check) bool { return !c.Met })
}

func (j *judge) check(name, target, actual string, met bool) {
	j.result.Checks = append(j.result.Checks, Check{name, target, actual, met})
}

func (j *judge) count(which func(PersonResult) bool) (n int) {
	for _, p := range j.result.People {
		if which(p) {
			n++
		}
	}
	return n
}

func ratio(some, all int) string { return fmt.Sprintf("%d of %d", some, all) }

// reasons names the first participant that was lost.
func (j *judge) reasons() string {
	for _, p := range j.result.People {
		if p.Lost {
			return fmt.Sprintf(": %s of %s %s", p.Participant, p.Visit, p.Why)
		}
	}
	return ""
}

// late reports whether a gap that began before healing lasted beyond the time to recover in.
func (j *judge) late() bool {
	deadline := Span(j.drill.Targets.RecoveredWithin)
	return j.count(func(p PersonResult) bool {
		return !p.Joiner && slices.ContainsFunc(p.Gaps, func(g GapResult) bool {
			return p.outage(g) && g.From <= Span(j.heal.Sub(j.inject)) && (g.To > deadline || g.Open)
		})
	}) > 0
}

func (j *judge) recovery() string {
	var last Span
	for _, p := range j.result.People {
		for _, g := range p.Gaps {
			switch {
			case p.Joiner || g.From > Span(j.heal.Sub(j.inject)) || !p.outage(g):
			case g.Open:
				return "not after " + j.result.Observed.String()
			default:
				last = max(last, g.To)
			}
		}
	}
	if last == 0 {
		return "never without"
	}
	return last.String()
}

func (j *judge) joiners(target Span) {
	slowest, all, in := Span(0), 0, 0
	for _, p := range j.result.People {
		if !p.Joiner {
			continue
		}
		all++
		if p.JoinedIn != nil {
			in++
			slowest = max(slowest, *p.JoinedIn)
		}
	}
	j.check("joined in the outage", "within "+target.String(), slowest.String()+", "+ratio(in, all), in == all && slowest <= target)
}

func (j *judge) whole() {
	target, actual, met := Span(j.drill.Targets.WholeWithin), "not", false
	if at, ok := j.first(Whole); ok {
		took := Span(at.Sub(j.heal))
		actual, met = took.String(), took <= target
	}
	j.check("cluster healthy after healing", "within "+target.String(), actual, met)
}

func (j *judge) together(target Span) {
	slowest := Span(0)
	for _, v := range j.result.Visits {
		if v.Rejoined == nil {
			j.check("joined again after healing", "within "+target.String(), "visit "+v.Name+" is apart", false)
			return
		}
		slowest = max(slowest, *v.Rejoined)
	}
	j.check("joined again after healing", "within "+target.String(), slowest.String(), slowest <= target)
}

func resumedOn(want scenario.Placement, p PersonResult) bool {
	switch want {
	case scenario.SameSFU:
		return p.Outage.SFU == p.Before.SFU
	case scenario.AnotherSFU:
		return p.Outage.SFU != p.Before.SFU
	case scenario.AnotherRegion:
		return p.Outage.Region != p.Before.Region
	case scenario.Anywhere:
	}
	return true
}
