package timeline

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Span is a duration that JSON shows as a number of milliseconds.
type Span time.Duration

// MarshalJSON implements json.Marshaler.
func (s Span) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(s).Microseconds())/1000, 'f', -1, 64), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Span) UnmarshalJSON(text []byte) error {
	ms, err := strconv.ParseFloat(string(text), 64)
	if err != nil {
		return err
	}
	*s = Span(math.Round(ms * float64(time.Millisecond)))
	return nil
}

// String shows milliseconds below a second, else seconds.
func (s Span) String() string {
	d := time.Duration(s)
	if d > -time.Second && d < time.Second {
		return strconv.FormatInt(d.Milliseconds(), 10) + " ms"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}

// Spread is how a figure is distributed over the participants that have it.
type Spread struct {
	N   int  `json:"n"`
	P50 Span `json:"p50_ms"`
	P95 Span `json:"p95_ms"`
	Max Span `json:"max_ms"`
}

// spread leaves out those that have no figure. Quantiles are by nearest rank, so that each is a figure that occurred.
func spread(figures []*Span) Spread {
	var known []Span
	for _, f := range figures {
		if f != nil {
			known = append(known, *f)
		}
	}
	if len(known) == 0 {
		return Spread{}
	}
	slices.Sort(known)
	rank := func(share float64) Span { return known[max(int(math.Ceil(share*float64(len(known))))-1, 0)] }
	return Spread{N: len(known), P50: rank(0.5), P95: rank(0.95), Max: known[len(known)-1]}
}

// PersonResult is what one participant went through. Times are counted from the first injection; those that did not happen are
// absent.
type PersonResult struct {
	Visit       string `json:"visit"`
	Participant string `json:"participant"`
	// Joiner is somebody who joined in the outage; JoinedIn is how long that took until there was media.
	Joiner   bool  `json:"joiner,omitempty"`
	JoinedIn *Span `json:"joined_in_ms,omitempty"`
	// Detected is the client's first sign of trouble, Replaced when it was sent to another media server, FirstMedia the end of
	// its longest gap, blips aside.
	Detected   *Span `json:"detected_ms,omitempty"`
	Replaced   *Span `json:"replaced_ms,omitempty"`
	FirstMedia *Span `json:"first_media_ms,omitempty"`
	// LongestGap is the longest time without media from anybody, Gaps all of them.
	LongestGap Span        `json:"longest_gap_ms"`
	Gaps       []GapResult `json:"gaps,omitempty"`
	// Before, Outage and After say what the participant used when things were broken, healed, and at the end.
	Before Use `json:"before"`
	Outage Use `json:"outage"`
	After  Use `json:"after"`
	// Lost says that the participant did not recover, Why how that showed.
	Lost bool   `json:"lost"`
	Why  string `json:"why,omitempty"`
}

// GapResult is a gap, counted from the first injection.
type GapResult struct {
	From Span `json:"from_ms"`
	To   Span `json:"to_ms"`
	// Open says that the gap lasted when the observation ended.
	Open bool `json:"open,omitempty"`
}

// Use is which servers a participant used.
type Use struct {
	Gateway string `json:"gateway,omitempty"`
	SFU     string `json:"sfu,omitempty"`
	Region  string `json:"region,omitempty"`
	Relay   string `json:"relay,omitempty"`
	Epoch   uint64 `json:"epoch,omitempty"`
	// Signaling says that it worked.
	Signaling bool `json:"signaling"`
}

func (v *View) use() Use {
	if v == nil {
		return Use{}
	}
	return Use{Gateway: v.Gateway, SFU: v.SFU, Region: v.Region, Relay: v.Relay, Epoch: v.Epoch, Signaling: v.Connected}
}

// VisitResult is what became of one visit.
type VisitResult struct {
	Name string `json:"name"`
	// Lost says that a participant of it was lost; Resumed that the failure was felt and overcome.
	Lost    bool `json:"lost"`
	Resumed bool `json:"resumed"`
	// Rejoined is when everybody was on one media server and heard each other for good, counted from healing.
	Rejoined *Span `json:"rejoined_ms,omitempty"`
}

// Check is one target and whether it was met.
type Check struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	Actual string `json:"actual"`
	Met    bool   `json:"met"`
}

// Result is the judgement of one run.
type Result struct {
	InjectAt time.Time `json:"inject_at"`
	// Injected, Healed, WholeAfter and Observed are counted from InjectAt.
	Injected   *Span `json:"injected_ms,omitempty"`
	HealBegan  *Span `json:"heal_began_ms,omitempty"`
	Healed     *Span `json:"healed_ms,omitempty"`
	WholeAfter *Span `json:"whole_ms,omitempty"`
	Observed   Span  `json:"observed_ms"`

	// Detect and Decide are the first of all participants, the spreads are over participants.
	Detect     *Span  `json:"detect_ms,omitempty"`
	Decide     *Span  `json:"decide_ms,omitempty"`
	Replaced   Spread `json:"replaced"`
	FirstMedia Spread `json:"first_media"`
	LongestGap Spread `json:"longest_gap"`

	Lost    int            `json:"visits_lost"`
	Resumed int            `json:"visits_resumed"`
	Visits  []VisitResult  `json:"visits"`
	People  []PersonResult `json:"participants"`
	Checks  []Check        `json:"checks"`
	// Met says that every target was met.
	Met bool `json:"met"`
}
