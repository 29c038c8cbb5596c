package sfu

import (
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/allocation"
	"github.com/wardline/wardline/edge/sfu/bandwidth"
)

func TestTopLayerOfATile(t *testing.T) {
	sizes := []int{320 * 180, 640 * 360, 1280 * 720}
	all := []bandwidth.Rate{1, 1, 1}
	camera := wanted{alice, signaling.Camera}
	tests := map[string]struct {
		width, height int
		costs         []bandwidth.Rate
		want          int
	}{
		"hidden":              {0, 0, all, allocation.None},
		"a line":              {300, 0, all, allocation.None},
		"thumbnail":           {160, 90, all, 0},
		"a little larger":     {400, 225, all, 0},
		"a quarter":           {640, 360, all, 1},
		"most of a laptop":    {1100, 700, all, 2},
		"a wall":              {7680, 4320, all, 2},
		"the small one stops": {160, 90, []bandwidth.Rate{0, 1, 1}, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			v := newView(signaling.View{Tiles: []signaling.Tile{
				{Participant: alice, Source: signaling.Camera, Width: test.width, Height: test.height},
			}})
			require.Equal(t, test.want, v.top(camera, sizes, test.costs, 7))
			require.Equal(t, 7, v.top(wanted{bob, signaling.Camera}, sizes, test.costs, 7), "of others nothing is known")
		})
	}
	require.Equal(t, 7, view(nil).top(camera, sizes, all, 7))
}

// shows tells the server how large a participant's camera is shown.
func (c *client) shows(participant string, width, height int) {
	c.gateway().send(c.session, signaling.View{Route: c.attach.Route, Tiles: []signaling.Tile{
		{Participant: participant, Source: signaling.Camera, Width: width, Height: height},
	}})
}

// obeys lets a client's camera send the layers it is told are wanted.
func (o *outgoing) obeys(active []string) {
	o.set(func(o *outgoing) {
		o.paused = true
		for _, rid := range active {
			o.paused = o.paused && rid != o.rid
		}
	})
}

func TestLayersNobodyWatchesAreSwitchedOff(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Camera)
	cameras := func(active []string) {
		for _, rid := range []string{"q", "h", "f"} {
			from["camera"+rid].obeys(active)
		}
	}
	b.awaitPackets(alice, signaling.Camera, 10, from["cameraf"].from())
	b.shows(alice, 160, 90)
	only := await(g, a.session, func(m signaling.Layers) bool { return len(m.Active) == 1 })
	require.Equal(t, signaling.Layers{Route: a.attach.Route, Source: signaling.Camera, Active: []string{"q"}}, only)
	cameras(only.Active)
	shown := func(rid string) {
		stream := from["camera"+rid].from()
		require.Eventually(t, func() bool { return latest(b.reception(alice, signaling.Camera), stream, 200*time.Millisecond) },
			patience, 10*time.Millisecond)
	}
	shown("q")
	require.Eventually(t, func() bool { return w.silent(a, "f") }, patience, 10*time.Millisecond)

	began := time.Now()
	b.shows(alice, 1280, 720)
	again := await(g, a.session, func(m signaling.Layers) bool { return len(m.Active) > 1 })
	require.Subset(t, again.Active, []string{"q", "f"})
	require.Less(t, time.Since(began), 2*time.Second)
	require.True(t, latest(b.reception(alice, signaling.Camera), from["cameraq"].from(), 200*time.Millisecond), "the small one until then")
	cameras(again.Active)
	shown("f")
	requireContinuous(w, b.reception(alice, signaling.Camera).snapshot())

	second := w.gateway()
	second.send(a.session, a.attach)
	require.Subset(t, await[signaling.Layers](second, a.session).Active, again.Active, "another gateway hears it again")
}

// silent reports whether a layer of a client's camera counts as not being sent.
func (w *world) silent(c *client, rid string) (silent bool) {
	l := w.legOf(c)
	l.whileOpen(func() {
		for _, each := range l.publisher.track(signaling.Camera).layers {
			silent = silent || each.rid == rid && !each.alive(time.Now())
		}
	})
	return silent
}

func TestWhatCannotBeSeenIsNotSent(t *testing.T) {
	w, g, a, b := visit(t)
	from := a.publish(true, signaling.Camera, signaling.Microphone)
	b.awaitPackets(alice, signaling.Camera, 10, from["cameraf"].from())
	b.shows(alice, 0, 0)
	r := b.reception(alice, signaling.Camera)
	still := func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return time.Since(r.times[len(r.times)-1]) > 300*time.Millisecond
	}
	require.Eventually(t, still, patience, 10*time.Millisecond)
	seen := len(r.snapshot())
	b.awaitPackets(alice, signaling.Microphone, 100, nil)
	b.shows(alice, 1280, 720)
	isNew := func(rtp.Packet) bool { return len(r.snapshot()) > seen+10 }
	b.awaitPackets(alice, signaling.Camera, seen+10, isNew)
	packets := r.snapshot()
	requireContinuous(w, packets)
	require.Zero(t, packets[seen].Payload[4]&1, "it goes on with a key frame")
	_, told := take[signaling.Paused](g, b.session)
	require.False(t, told, "it is not paused for lack of bandwidth")
}
