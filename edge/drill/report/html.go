package report

import (
	_ "embed" // the page
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/timeline"
)

//go:embed page.html.tmpl
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock":    func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
	"seconds":  orDash,
	"spread":   spreadText,
	"offset":   offsetText,
	"versions": versionsText,
	"short":    func(hash string) string { return hash[:min(len(hash), 12)] },
	"gib":      func(n uint64) string { return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30)) },
	"use":      useText,
	"target":   targetText,
	"chart":    newChart,
	"anchor":   anchor,
	"names":    runName,
	"class":    class,
}).Parse(pageText))

// HTML writes the page. It is complete in itself: no scripts, and nothing is loaded.
func (r Report) HTML(w io.Writer) error { return page.Execute(w, r) }

func orDash(s *timeline.Span) string {
	if s == nil {
		return "–"
	}
	return s.String()
}

func spreadText(s timeline.Spread) string {
	if s.N == 0 {
		return "–"
	}
	return s.P50.String() + " / " + s.P95.String()
}

// offsetText is the time of an event, counted from the injection.
func offsetText(at, from time.Time) string {
	return fmt.Sprintf("%+.3f s", at.Sub(from).Seconds())
}

func versionsText(versions map[string]string) string {
	parts := make([]string, 0, len(versions))
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		parts = append(parts, name+" "+versions[name])
	}
	return strings.Join(parts, ", ")
}

func useText(u timeline.Use) string {
	if u.SFU == "" && u.Gateway == "" {
		return "–"
	}
	text := u.SFU
	if u.Gateway != "" {
		text += " via " + u.Gateway
	}
	if u.Relay != "" {
		text += ", relay " + u.Relay
	}
	if !u.Signaling {
		text += ", no signaling"
	}
	return text
}

// targetText is what a check demands, empty if the run was not judged by it.
func targetText(o drill.Outcome, name string) string {
	if o.Result == nil {
		return ""
	}
	for _, c := range o.Result.Checks {
		if c.Name == name {
			return c.Target
		}
	}
	return ""
}

func runName(o drill.Outcome) string {
	if o.Control == "" {
		return o.Drill
	}
	return o.Drill + ", control " + o.Control
}

func anchor(o drill.Outcome) string { return strings.ReplaceAll(runName(o), ", control ", "--") }

func class(passed bool) string {
	if passed {
		return "good"
	}
	return "bad"
}
