package scenario

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/gohcl"
	"github.com/hashicorp/hcl/v2/hclsyntax"

	"github.com/wardline/wardline/core/access"
)

// names are those of drills, visits, participants, nodes, regions and processes.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// The shapes of the blocks. Attributes stay as they are written, so that each complaint has its place.
type (
	fileBlock struct {
		Baseline *hcl.Attribute `hcl:"baseline,optional"`
		Hold     *hcl.Attribute `hcl:"hold,optional"`
		Settle   *hcl.Attribute `hcl:"settle,optional"`
		Visits   []visitBlock   `hcl:"visit,block"`
		Drills   []drillBlock   `hcl:"drill,block"`
	}
	drillBlock struct {
		Name        string         `hcl:"name,label"`
		Description *hcl.Attribute `hcl:"description,optional"`
		Baseline    *hcl.Attribute `hcl:"baseline,optional"`
		Hold        *hcl.Attribute `hcl:"hold,optional"`
		Settle      *hcl.Attribute `hcl:"settle,optional"`
		Visits      []visitBlock   `hcl:"visit,block"`
		Injections  []injectBlock  `hcl:"inject,block"`
		Targets     []targetsBlock `hcl:"targets,block"`
		Controls    []controlBlock `hcl:"control,block"`
		Place       hcl.Range      `hcl:",def_range"`
		NamePlace   hcl.Range      `hcl:"name,label_range"`
	}
	visitBlock struct {
		Name         string             `hcl:"name,label"`
		Count        *hcl.Attribute     `hcl:"count,optional"`
		Regions      *hcl.Attribute     `hcl:"regions,optional"`
		RTT          *hcl.Attribute     `hcl:"rtt,optional"`
		Participants []participantBlock `hcl:"participant,block"`
		Place        hcl.Range          `hcl:",def_range"`
	}
	participantBlock struct {
		Name    string         `hcl:"name,label"`
		Role    *hcl.Attribute `hcl:"role"`
		At      *hcl.Attribute `hcl:"at,optional"`
		Gateway *hcl.Attribute `hcl:"gateway,optional"`
		Relay   *hcl.Attribute `hcl:"relay,optional"`
		Joins   *hcl.Attribute `hcl:"joins,optional"`
		Place   hcl.Range      `hcl:",def_range"`
	}
	injectBlock struct {
		Verb    *hcl.Attribute `hcl:"verb"`
		Target  *hcl.Attribute `hcl:"target"`
		Peer    *hcl.Attribute `hcl:"peer,optional"`
		Process *hcl.Attribute `hcl:"process,optional"`
		After   *hcl.Attribute `hcl:"after,optional"`
		Place   hcl.Range      `hcl:",def_range"`
	}
	targetsBlock struct {
		LongestGap      *hcl.Attribute `hcl:"longest_gap,optional"`
		RecoveredWithin *hcl.Attribute `hcl:"recovered_within,optional"`
		Lost            *hcl.Attribute `hcl:"lost,optional"`
		JoinedWithin    *hcl.Attribute `hcl:"joined_within,optional"`
		Signaling       *hcl.Attribute `hcl:"signaling,optional"`
		ResumedOn       *hcl.Attribute `hcl:"resumed_on,optional"`
		WholeWithin     *hcl.Attribute `hcl:"whole_within,optional"`
		RejoinedWithin  *hcl.Attribute `hcl:"rejoined_within,optional"`
		Place           hcl.Range      `hcl:",def_range"`
	}
	controlBlock struct {
		Name        string         `hcl:"name,label"`
		Description *hcl.Attribute `hcl:"description,optional"`
		Injections  []injectBlock  `hcl:"inject,block"`
		Targets     []targetsBlock `hcl:"targets,block"`
		Place       hcl.Range      `hcl:",def_range"`
	}
)

func parse(name string, text []byte) ([]Drill, error) {
	file, diagnostics := hclsyntax.ParseConfig(text, name, hcl.InitialPos)
	if diagnostics.HasErrors() {
		return nil, invalid(diagnostics)
	}
	var root fileBlock
	r := &reader{source: text, diagnostics: gohcl.DecodeBody(file.Body, nil, &root)}
	if r.diagnostics.HasErrors() {
		return nil, invalid(r.diagnostics)
	}
	if len(root.Drills) == 0 {
		start := hcl.Range{Filename: name, Start: hcl.InitialPos, End: hcl.InitialPos}
		r.complain(start, `no drill: a scenario is made of blocks drill "NAME" { ... }`)
	}
	drills := make([]Drill, 0, len(root.Drills))
	for _, block := range root.Drills {
		block.Visits = withShared(root.Visits, block.Visits)
		block.Baseline, block.Hold = cmp.Or(block.Baseline, root.Baseline), cmp.Or(block.Hold, root.Hold)
		block.Settle = cmp.Or(block.Settle, root.Settle)
		drill := r.drill(block)
		if slices.ContainsFunc(drills, func(d Drill) bool { return d.Name == drill.Name }) {
			r.complain(block.Place, "a second drill %q: names are unique", drill.Name)
		}
		drills = append(drills, drill)
	}
	if r.diagnostics.HasErrors() {
		return nil, invalid(r.diagnostics)
	}
	return drills, nil
}

// withShared puts the file's visits before a drill's own, which replace those of the same name.
func withShared(shared, own []visitBlock) []visitBlock {
	all := make([]visitBlock, 0, len(shared)+len(own))
	for _, visit := range shared {
		if !slices.ContainsFunc(own, func(other visitBlock) bool { return other.Name == visit.Name }) {
			all = append(all, visit)
		}
	}
	return append(all, own...)
}

// invalid makes one error of all complaints, a line each.
func invalid(diagnostics hcl.Diagnostics) error {
	lines := make([]string, 0, len(diagnostics))
	for _, d := range diagnostics {
		if d.Severity != hcl.DiagError {
			continue
		}
		text := d.Summary
		if d.Detail != "" {
			text += ": " + d.Detail
		}
		if d.Subject != nil {
			text = fmt.Sprintf("%s:%d: %s", d.Subject.Filename, d.Subject.Start.Line, text)
		}
		lines = append(lines, strings.ReplaceAll(text, "\n", " "))
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(lines, "\n"))
}

func (r *reader) drill(b drillBlock) Drill {
	d := Drill{
		Name: r.name(b.Name, b.Place, "drill"), Description: r.text(b.Description, ""),
		Baseline: r.duration(b.Baseline, defaultBaseline), Hold: r.duration(b.Hold, defaultHold),
		Settle: r.duration(b.Settle, defaultSettle),
	}
	if d.Hold < minHold {
		r.complain(b.Hold.Expr.Range(), "hold = %s: must be %s or more, since clients need time to notice", d.Hold, minHold)
	}
	participants := 0
	for _, block := range b.Visits {
		for _, v := range r.visit(block) {
			if slices.ContainsFunc(d.Visits, func(other Visit) bool { return other.Name == v.Name }) {
				r.complain(block.Place, "a second visit %q: names are unique", v.Name)
			}
			participants += len(v.Participants)
			d.Visits = append(d.Visits, v)
		}
	}
	if participants > maxParticipants {
		r.complain(b.Place, "drill %q has %d participants: at most %d", d.Name, participants, maxParticipants)
	}
	if !slices.ContainsFunc(d.Visits, func(v Visit) bool { return !v.InOutage() }) {
		r.complain(b.Place, "drill %q has nobody who can notice the failure: give it a visit whose participants join before", d.Name)
	}
	d.Injections = r.injections(b.Injections, d)
	if len(b.Injections) == 0 {
		r.complain(b.Place, "drill %q breaks nothing: give it an inject block", d.Name)
	}
	d.Targets = r.targets(b.Targets, Targets{RecoveredWithin: defaultRecovered, WholeWithin: defaultWhole, ResumedOn: Anywhere})
	for _, block := range b.Controls {
		control := r.control(block, d)
		if slices.ContainsFunc(d.Controls, func(other Control) bool { return other.Name == control.Name }) {
			r.complain(block.Place, "a second control %q: names are unique", control.Name)
		}
		d.Controls = append(d.Controls, control)
	}
	return d
}

func (r *reader) control(b controlBlock, of Drill) Control {
	c := Control{
		Name: r.name(b.Name, b.Place, "control"), Description: r.text(b.Description, ""),
		Injections: of.Injections, Targets: r.targets(b.Targets, of.Targets),
	}
	if len(b.Injections) > 0 {
		c.Injections = r.injections(b.Injections, of)
	}
	if len(b.Injections) == 0 && len(b.Targets) == 0 {
		r.complain(b.Place, "control %q is the drill itself: give it an inject or a targets block that makes it fail", b.Name)
	}
	return c
}

// visit gives the block's visits: NAME, or NAME-1 to NAME-N where it has a count.
func (r *reader) visit(b visitBlock) []Visit {
	v := Visit{Name: r.name(b.Name, b.Place, "visit"), Regions: r.list(b.Regions), RTT: r.numbers(b.RTT, maxRTT)}
	for _, block := range b.Participants {
		p := r.participant(block)
		if slices.ContainsFunc(v.Participants, func(other Participant) bool { return other.Name == p.Name }) {
			r.complain(block.Place, "a second participant %q in visit %q: names are unique", p.Name, v.Name)
		}
		v.Participants = append(v.Participants, p)
	}
	if len(v.Participants) < 2 {
		r.complain(b.Place, "visit %q has %d participants: media needs two", v.Name, len(v.Participants))
	}
	if !v.admits() {
		r.complain(b.Place, "visit %q has nobody who lets patients in: give it a participant with role %q who joins first",
			v.Name, access.Provider)
	}
	if b.Count == nil {
		return []Visit{v}
	}
	count := r.integer(b.Count, 1, 1, maxParticipants)
	visits := make([]Visit, 0, count)
	for i := range count {
		one := v
		one.Name = fmt.Sprintf("%s-%d", v.Name, i+1)
		visits = append(visits, one)
	}
	return visits
}

func (r *reader) participant(b participantBlock) Participant {
	p := Participant{
		Name: r.name(b.Name, b.Place, "participant"), At: r.text(b.At, ""), Gateway: r.text(b.Gateway, ""),
		Relay: r.boolean(b.Relay), Joins: When(r.oneOf(b.Joins, string(Before), string(Before), string(Outage))),
	}
	if p.At != "" && !names.MatchString(p.At) {
		r.complain(b.At.Expr.Range(), "at = %q: must be the name of a node", p.At)
	}
	if p.Gateway != "" && !names.MatchString(p.Gateway) && !strings.HasPrefix(p.Gateway, "https://") {
		r.complain(b.Gateway.Expr.Range(), "gateway = %q: must be a region, the id of a gateway, or an https:// URL", p.Gateway)
	}
	roles := make([]string, 0, len(access.Roles()))
	for _, role := range access.Roles() {
		roles = append(roles, string(role))
	}
	p.Role = access.Role(r.oneOf(b.Role, "", roles...))
	return p
}

func (r *reader) injections(blocks []injectBlock, of Drill) []Injection {
	known := placeholders(of)
	injections := make([]Injection, 0, len(blocks))
	for _, b := range blocks {
		verb, ok := FindVerb(r.oneOf(b.Verb, "", verbNames()...))
		if !ok {
			continue // complained already
		}
		i := Injection{Verb: verb, After: r.duration(b.After, 0)}
		i.target = r.argument(b.Target, "target", verb, required, known, b.Place)
		i.peer = r.argument(b.Peer, "peer", verb, verb.peer, known, b.Place)
		i.process = r.argument(b.Process, "process", verb, verb.process, known, b.Place)
		i.Text = strings.Join(slices.DeleteFunc([]string{verb.Name, r.written(i.target), r.written(i.peer), r.written(i.process)},
			func(part string) bool { return part == "" }), " ")
		injections = append(injections, i)
	}
	slices.SortStableFunc(injections, func(a, b Injection) int { return int(a.After - b.After) })
	return injections
}

// argument checks one argument of an injection with stand-ins for what is only known at run time.
func (r *reader) argument(a *hcl.Attribute, name string, verb Verb, n need, known *hcl.EvalContext, block hcl.Range) hcl.Expression {
	switch {
	case a == nil && n == required:
		r.complain(block, "%s needs %s: %s", verb.Name, name, verb.Does)
		return nil
	case a == nil:
		return nil
	case n == none:
		r.complain(a.Range, "%s takes no %s: %s", verb.Name, name, verb.Does)
		return nil
	}
	value, diagnostics := a.Expr.Value(known)
	r.diagnostics = append(r.diagnostics, diagnostics...)
	if diagnostics.HasErrors() {
		return nil
	}
	if text, ok := asString(value); !ok || !names.MatchString(text) {
		r.complain(a.Expr.Range(), "%s: must be one name of letters, digits, '.', '_' or '-', at most 64", name)
	}
	return a.Expr
}

// placeholders are facts about a drill's visits in which every server is called "x".
func placeholders(d Drill) *hcl.EvalContext {
	x := Server{ID: "x", Node: "x", Region: "x"}
	facts := Facts{Visits: map[string]VisitFacts{}}
	for _, v := range d.Visits {
		if v.InOutage() {
			continue // does not exist yet when things are broken
		}
		people := map[string]ParticipantFacts{}
		for _, p := range v.Participants {
			if p.Joins == Before {
				people[p.Name] = ParticipantFacts{Gateway: x, Relay: x}
			}
		}
		facts.Visits[v.Name] = VisitFacts{SFU: x, Home: "x", Participants: people}
	}
	return facts.context()
}

func (r *reader) targets(blocks []targetsBlock, t Targets) Targets {
	if len(blocks) > 1 {
		r.complain(blocks[1].Place, "a second targets block: one is allowed")
	}
	if len(blocks) == 0 {
		return t
	}
	b := blocks[0]
	t.LongestGap = r.optionalDuration(b.LongestGap, t.LongestGap)
	t.JoinedWithin = r.optionalDuration(b.JoinedWithin, t.JoinedWithin)
	t.RejoinedWithin = r.optionalDuration(b.RejoinedWithin, t.RejoinedWithin)
	t.RecoveredWithin = r.duration(b.RecoveredWithin, t.RecoveredWithin)
	t.WholeWithin = r.duration(b.WholeWithin, t.WholeWithin)
	t.Lost = r.integer(b.Lost, t.Lost, 0, maxParticipants)
	if b.Signaling != nil {
		t.Signaling = r.boolean(b.Signaling)
	}
	t.ResumedOn = Placement(r.oneOf(b.ResumedOn, string(t.ResumedOn),
		string(Anywhere), string(SameSFU), string(AnotherSFU), string(AnotherRegion)))
	return t
}
