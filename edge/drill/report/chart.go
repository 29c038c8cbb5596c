package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/timeline"
)

// Measures of a chart, in its own units.
const (
	chartWidth  = 960
	labelWidth  = 190
	rightMargin = 20
	laneHeight  = 26
	barHeight   = 14
	rowHeight   = 16
	minGapWidth = 2
	charWidth   = 6.4
)

// chart is the picture of one run: a lane a participant, milestones above.
type chart struct {
	Title         string
	Width, Height float64
	LaneTop       float64
	Left, Right   float64
	Ticks         []tick
	Marks         []mark
	Lanes         []lane
}

type tick struct {
	X    float64
	Text string
}

// mark is a milestone: a line through all lanes, with its text above.
type mark struct {
	X, TextX, TextY float64
	Anchor          string
	Class, Text     string
}

type lane struct {
	Label       string
	TextY, BarY float64
	BarHeight   float64
	From, Width float64
	Gaps        []bar
	Placed      []float64
	// Note is the length of the longest gap, NoteClass says whether it is inside or behind it.
	Note, NoteClass string
	NoteX           float64
}

type bar struct {
	X, Width float64
	Text     string
}

// scale puts a time since the injection on the chart. Its root spreads the first seconds, where most happens, without
// losing the last.
type scale struct{ end float64 }

func (s scale) x(at timeline.Span) float64 {
	seconds := math.Max(time.Duration(at).Seconds(), 0)
	x := labelWidth + (chartWidth-labelWidth-rightMargin)*math.Sqrt(math.Min(seconds, s.end)/s.end)
	return round(x)
}

// round keeps what the eye can see.
func round(x float64) float64 { return math.Round(x*10) / 10 }

// newChart draws a run that was judged; nil otherwise.
func newChart(o drill.Outcome) *chart {
	if o.Result == nil {
		return nil
	}
	r := o.Result
	s := scale{math.Max(time.Duration(r.Observed).Seconds(), 1)}
	c := &chart{Title: "Timeline of " + runName(o), Width: chartWidth, Left: labelWidth, Right: chartWidth - rightMargin}
	rows := c.marks(r, s)
	c.LaneTop = float64(rows)*rowHeight + 12
	for i, p := range r.People {
		c.Lanes = append(c.Lanes, newLane(p, o.Events, r, s, c.LaneTop+float64(i)*laneHeight))
	}
	c.Height = c.LaneTop + float64(len(r.People))*laneHeight + 24
	c.ticks(s)
	return c
}

// marks places the milestones' texts in rows so that none covers another, and returns how many rows there are.
func (c *chart) marks(r *timeline.Result, s scale) int {
	zero := timeline.Span(0)
	for _, m := range []struct {
		at          *timeline.Span
		class, text string
	}{
		{&zero, "inject", "injected"},
		{r.Detect, "detect", "detected"},
		{r.Decide, "decide", "re-placed first"},
		{medianOf(r.FirstMedia), "media", "media again (p50)"},
		{r.HealBegan, "heal", "healed"},
		{r.WholeAfter, "whole", "cluster whole"},
	} {
		if m.at != nil {
			c.Marks = append(c.Marks, mark{X: s.x(*m.at), Class: m.class, Text: m.text + " " + offset(*m.at)})
		}
	}
	slices.SortStableFunc(c.Marks, func(a, b mark) int { return cmp.Compare(a.X, b.X) })
	var ends []float64
	for i := range c.Marks {
		m := &c.Marks[i]
		width := charWidth * float64(len(m.Text))
		from := m.X + 4
		m.Anchor, m.TextX = "start", from
		if from+width > chartWidth {
			from = m.X - 4 - width
			m.Anchor, m.TextX = "end", m.X-4
		}
		row := slices.IndexFunc(ends, func(end float64) bool { return end < from })
		if row < 0 {
			row = len(ends)
			ends = append(ends, 0)
		}
		ends[row] = from + width + 6
		m.TextY = float64(row+1) * rowHeight
	}
	return len(ends)
}

func medianOf(s timeline.Spread) *timeline.Span {
	if s.N == 0 {
		return nil
	}
	return &s.P50
}

func offset(at timeline.Span) string {
	if at == 0 {
		return ""
	}
	return "+" + at.String()
}

func (c *chart) ticks(s scale) {
	last := -math.MaxFloat64
	for _, seconds := range []float64{0, 0.1, 0.5, 1, 2, 3, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600} {
		if seconds > s.end {
			break
		}
		x := s.x(timeline.Span(seconds * float64(time.Second)))
		if x-last < 40 {
			continue
		}
		last = x
		c.Ticks = append(c.Ticks, tick{x, fmt.Sprintf("%g s", seconds)})
	}
}

func newLane(p timeline.PersonResult, events []timeline.Event, r *timeline.Result, s scale, y float64) lane {
	l := lane{
		Label: p.Participant + " of " + p.Visit, TextY: y + laneHeight/2 + 4, BarY: y + (laneHeight-barHeight)/2, BarHeight: barHeight,
		From: s.x(0), Width: round(s.x(r.Observed) - s.x(0)),
	}
	if p.Joiner {
		l.From, l.Width = s.x(r.Observed), 0
	}
	for _, e := range events {
		if e.Visit != p.Visit || e.Participant != p.Participant || e.At.Before(r.InjectAt) {
			continue
		}
		at := timeline.Span(e.At.Sub(r.InjectAt))
		switch {
		case e.Kind == timeline.Placed && at <= r.Observed:
			l.Placed = append(l.Placed, s.x(at))
		case e.Kind == timeline.MediaOn && l.Width == 0:
			l.From, l.Width = s.x(at), round(s.x(r.Observed)-s.x(at))
		}
	}
	for _, g := range p.Gaps {
		b := bar{X: s.x(g.From), Text: "no media for " + (g.To - g.From).String()}
		b.Width = round(math.Max(s.x(g.To)-b.X, minGapWidth))
		l.Gaps = append(l.Gaps, b)
	}
	if p.LongestGap > 0 {
		l.Note = p.LongestGap.String()
		l.NoteX, l.NoteClass = l.note(p, s)
	}
	return l
}

// note is where the length of the longest gap is written: inside it where there is room, else behind it.
func (l lane) note(p timeline.PersonResult, s scale) (x float64, class string) {
	for i, g := range p.Gaps {
		if g.To-g.From == p.LongestGap {
			if width := charWidth * float64(len(p.LongestGap.String())); l.Gaps[i].Width > width+40 {
				return l.Gaps[i].X + 6, "inside"
			}
			return math.Min(s.x(g.To)+6, chartWidth-rightMargin-60), "behind"
		}
	}
	return l.From, "behind"
}
