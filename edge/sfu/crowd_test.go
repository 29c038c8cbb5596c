package sfu

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/sdp/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
)

// named makes ids of participants.
func named(kind string, count int) []string {
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprint(kind, i)
	}
	return names
}

// panel is a room with more speakers than anybody hears, each with a microphone, the first two with a camera, and somebody who
// listens.
type panel struct {
	*gateway
	names    []string
	streams  []map[string]*outgoing
	speakers []*client
	listener *client
}

func newPanel(t *testing.T) *panel {
	t.Helper()
	p := &panel{gateway: newWorld(t).gateway(), names: named("speaker", fewPublishers+1)}
	p.admit(append([]string{alice}, p.names...), nil)
	for i, name := range p.names {
		speaker := p.join(attachMessage(name, signaling.BrowserSession))
		sources := []signaling.Source{signaling.Microphone}
		if i < 2 {
			sources = append(sources, signaling.Screen)
		}
		p.speakers, p.streams = append(p.speakers, speaker), append(p.streams, speaker.publish(true, sources...))
	}
	p.listener = p.join(attachMessage(alice, signaling.BrowserSession))
	return p
}

// speak makes some speak, and the others fall silent.
func (p *panel) speak(speaking ...int) {
	for i, streams := range p.streams {
		streams["microphone"].set(func(o *outgoing) {
			o.level = 127
			for _, each := range speaking {
				if each == i {
					o.level = loudLevel
				}
			}
		})
	}
}

// heard counts the voices that the listener is sent.
func (p *panel) heard() (count int) {
	for _, name := range p.names {
		if p.listener.carries(name, signaling.Microphone) {
			count++
		}
	}
	return count
}

// shows reports whether the listener is sent somebody's screen.
func (p *panel) shows(who int) bool { return p.listener.carries(p.names[who], signaling.Screen) }

// TestOfManyASelectionIsSent is one long scene: a panel takes its time to gather.
func TestOfManyASelectionIsSent(t *testing.T) {
	p := newPanel(t)
	p.onlySpeakersAreHeard()
	p.whatIsHiddenIsNotSent()
	p.whoTellsNoLevelsIsHeard()
	p.fewAreAllHeardAgain()
}

func (p *panel) onlySpeakersAreHeard() {
	p.speak(0, 1, 2)
	hears := func(who int) bool { return p.listener.carries(p.names[who], signaling.Microphone) }
	require.Eventually(p.w, func() bool {
		return hears(0) && hears(1) && hears(2) && p.heard() == selectedVoices
	}, patience, 10*time.Millisecond)
	p.listener.awaitPackets(p.names[1], signaling.Microphone, 10, p.streams[1]["microphone"].from())
	quiet := p.names[8]
	require.Nil(p.w, p.listener.reception(quiet, signaling.Microphone), "nobody asked for the voice of who is silent")

	// Those who are heard hear another one in the place of themselves.
	require.Eventually(p.w, func() bool {
		count := 0
		for _, name := range p.names {
			if p.speakers[0].carries(name, signaling.Microphone) {
				count++
			}
		}
		return count == selectedVoices && !p.speakers[0].carries(p.names[0], signaling.Microphone)
	}, patience, 10*time.Millisecond)

	require.Eventually(p.w, func() bool { return p.shows(0) && p.shows(1) }, patience, 10*time.Millisecond)
	offers := p.listener.negotiations()
	p.speak(0, 8)
	require.Eventually(p.w, func() bool { return hears(8) && hears(0) && p.heard() == selectedVoices }, patience, 10*time.Millisecond)
	p.listener.awaitPackets(quiet, signaling.Microphone, 20, p.streams[8]["microphone"].from())
	requireContinuous(p.w, p.listener.reception(quiet, signaling.Microphone).snapshot())
	require.Equal(p.w, offers, p.listener.negotiations(), "voices change without negotiation")
}

func (p *panel) whatIsHiddenIsNotSent() {
	p.send(p.listener.session, signaling.View{Route: p.listener.attach.Route, Tiles: []signaling.Tile{
		{Participant: p.names[0], Source: signaling.Screen},
	}})
	require.Eventually(p.w, func() bool { return !p.shows(0) && p.shows(1) }, patience, 10*time.Millisecond)
	p.listener.awaitPackets(p.names[1], signaling.Screen, 5, p.streams[1]["screen"].from())
}

func (p *panel) whoTellsNoLevelsIsHeard() {
	const feed = "encoder"
	p.admit(append([]string{alice, feed}, p.names...), nil)
	encoder := p.join(attachMessage(feed, signaling.WHIPSession))
	encoder.edit = func(description string) string {
		return strings.ReplaceAll(description, sdp.AudioLevelURI, "urn:unknown")
	}
	stream := encoder.publish(true, signaling.Microphone)["microphone"]
	p.listener.awaitPackets(feed, signaling.Microphone, 20, stream.from())
	require.Equal(p.w, selectedVoices, p.heard(), "beside those who speak")
}

func (p *panel) fewAreAllHeardAgain() {
	p.admit(append([]string{alice}, p.names[:fewAgain]...), nil)
	require.Eventually(p.w, func() bool { return p.heard() == fewAgain }, patience, 10*time.Millisecond)
	for i, name := range p.names[:fewAgain] {
		p.listener.awaitPackets(name, signaling.Microphone, 5, p.streams[i]["microphone"].from())
	}
	require.Contains(p.w, p.listener.sub.RemoteDescription().SDP, "msid:"+p.names[0], "they are in lip sync again")
}

// negotiations counts the offers that a client was made, once all are answered.
func (c *client) negotiations() (count uint32) {
	c.w.Helper()
	l := c.w.legOf(c)
	require.Eventually(c.w, func() (settled bool) {
		l.whileOpen(func() {
			s := &l.subscriber
			count, settled = s.negotiation, !s.dirty && !s.offering && s.outstanding == nil
		})
		return settled
	}, patience, 5*time.Millisecond)
	return count
}

// TestJoiningACrowdCostsWhatItChanges counts what the server works out and says while a crowd of listeners gathers.
func TestJoiningACrowdCostsWhatItChanges(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Capacity = 1000 })
	g := w.gateway()
	const before, count = 100, 50
	names := named("listener", before+count)
	g.admit(names, nil)
	attend := func(names []string) {
		for _, name := range names {
			g.send(sessionOf(name), attachMessage(name, signaling.BrowserSession))
		}
		for _, name := range names {
			await[signaling.Attached](g, sessionOf(name))
		}
	}
	attend(names[:before])
	heard := func(of []string) { // everybody has
		require.Eventually(t, func() bool {
			told := g.told()
			for _, name := range names[:before] {
				for _, other := range of {
					if other != name && told[sessionOf(name)][other] == 0 {
						return false
					}
				}
			}
			return true
		}, patience, 5*time.Millisecond)
	}
	heard(names[:before])
	g.mu.Lock()
	g.frames = nil
	g.mu.Unlock()
	work := testutil.ToFloat64(w.server.metrics.assignments)
	attend(names[before:])
	heard(names[before:])

	require.LessOrEqual(t, testutil.ToFloat64(w.server.metrics.assignments)-work, 2.0*count, "only for who comes")
	told := g.told()
	for _, name := range names[:before] {
		for i, other := range names {
			once := 0
			if i >= before {
				once = 1
			}
			require.Equal(t, once, told[sessionOf(name)][other], "everybody hears once of each who comes, and of nobody else")
		}
	}
}

// told counts how often each session heard of each participant.
func (g *gateway) told() map[string]map[string]int {
	g.mu.Lock()
	defer g.mu.Unlock()
	told := map[string]map[string]int{}
	for _, frame := range g.frames {
		m, ok := frame.Message.(signaling.Peers)
		if !ok {
			continue
		}
		if told[frame.Session] == nil {
			told[frame.Session] = map[string]int{}
		}
		for _, p := range m.Peers {
			told[frame.Session][p.Participant]++
		}
	}
	return told
}

func TestACrowdIsToldWhoIsGone(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Capacity = 1000 })
	g := w.gateway()
	names := named("listener", manyLegs+1)
	g.admit(names, nil)
	for _, name := range names {
		g.send(sessionOf(name), attachMessage(name, signaling.BrowserSession))
	}
	route := signaling.Route{Leg: 1, Epoch: 1}
	first := sessionOf(names[0])
	await(g, first, func(m signaling.Peers) bool { return len(m.Peers) == manyLegs && !m.Partial })
	g.send(sessionOf(names[1]), signaling.MediaState{Route: route, Audio: true})
	changed := await(g, first, func(m signaling.Peers) bool { return m.Partial })
	require.Equal(t, []signaling.Peer{{Participant: names[1], Audio: true}}, changed.Peers)
	g.send(sessionOf(names[2]), signaling.Detach{Route: route})
	gone := await(g, first, func(m signaling.Peers) bool { return len(m.Gone) > 0 })
	require.Equal(t, []string{names[2]}, gone.Gone)
	require.Empty(t, gone.Peers)

	other := w.gateway()
	other.send(first, attachMessage(names[0], signaling.BrowserSession))
	again := await[signaling.Peers](other, first)
	require.Len(t, again.Peers, manyLegs-1, "who takes a leg over is told everything")
	require.False(t, again.Partial)

	for _, name := range names[fewLegs+1:] {
		g.send(sessionOf(name), signaling.Detach{Route: route})
	}
	await(other, first, func(m signaling.Peers) bool { return !m.Partial && len(m.Peers) == fewLegs-1 })
}
