package drain

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestState(t *testing.T) {
	node, off := sight{node: true, nodeReason: "patch"}, sight{}
	service := sight{service: true, serviceReason: "odd noises"}
	both := sight{node: true, nodeReason: "patch", service: true, serviceReason: "odd noises"}
	see := func(what ...sight) func(state) state {
		return func(s state) state {
			for _, one := range what {
				s = s.see(one)
			}
			return s
		}
	}
	undrain := state.undrain
	leave := func(s state) state { return s.leave("stopping") }
	latch := func(s state) state { return s.latch("before the restart") }
	for name, test := range map[string]struct {
		steps  []func(state) state
		cause  string
		reason string
	}{
		"at first":                            {nil, "", ""},
		"nothing in maintenance":              {[]func(state) state{see(off)}, "", ""},
		"node":                                {[]func(state) state{see(node)}, causeNode, "patch"},
		"node on and off":                     {[]func(state) state{see(node, node, off)}, "", ""},
		"service":                             {[]func(state) state{see(service)}, causeService, "odd noises"},
		"service, dropped by a registration":  {[]func(state) state{see(service, off, off)}, causeService, "odd noises"},
		"service, undrained":                  {[]func(state) state{see(service, off), undrain, see(off)}, "", ""},
		"service, undrained while it is on":   {[]func(state) state{see(service), undrain, see(service)}, causeService, "odd noises"},
		"service, then node on and off":       {[]func(state) state{see(service, off, node, off)}, "", ""},
		"service still on after node":         {[]func(state) state{see(service, both, service)}, causeService, "odd noises"},
		"both tells of the node":              {[]func(state) state{see(both)}, causeNode, "patch"},
		"undrain does not end node":           {[]func(state) state{see(node), undrain}, causeNode, "patch"},
		"latched before a restart":            {[]func(state) state{latch, see(off)}, causeService, "before the restart"},
		"latched before a restart, undrained": {[]func(state) state{latch, see(off), undrain}, "", ""},
		"leaving":                             {[]func(state) state{leave, see(off)}, causeLeaving, "stopping"},
		"leaving is for good":                 {[]func(state) state{see(node), leave, see(off), undrain}, causeLeaving, "stopping"},
	} {
		t.Run(name, func(t *testing.T) {
			var s state
			for _, step := range test.steps {
				s = step(s)
			}
			on, cause, reason := s.draining()
			require.Equal(t, test.cause != "", on)
			require.Equal(t, test.cause, cause)
			require.Equal(t, test.reason, reason)
		})
	}
}

func TestReasonsFitOneLine(t *testing.T) {
	require.Equal(t, "a b c", tidy(" a\n\tb  c\xff "))
	long := tidy(strings.Repeat("ü", 1000))
	require.LessOrEqual(t, len(long), maxReason)
	require.Equal(t, strings.Repeat("ü", maxReason/2), long)
}

func TestRecordsOfOthers(t *testing.T) {
	for value, ok := range map[string]bool{
		Undrain: true, `{}`: true, `{"state":"serving","future":1}`: true, `{`: false, `[]`: false, `{"encounters":"many"}`: false,
		`{"undrain":"yes"}`: false, strings.Repeat(" ", maxRecord) + `{}`: false,
	} {
		_, err := parse([]byte(value))
		require.Equal(t, ok, err == nil, "%.40s: %v", value, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(Undrain))
	f.Add([]byte(`{"state":"draining","reason":"patch","latched":true,"since":"2026-01-01T00:00:00Z","encounters":2,"participants":5}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := parse(value)
		if err == nil {
			require.LessOrEqual(t, len(s.Reason), maxReason)
			require.NotContains(t, s.Reason, "\n")
		}
	})
}
