package sfu

import (
	"slices"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/sfu/allocation"
	"github.com/wardline/wardline/edge/sfu/bandwidth"
	"github.com/wardline/wardline/edge/sfu/scalability"
)

// Priorities of videos, from what matters most: there is never enough for everything.
const (
	priorityOther = iota
	prioritySpeaker
	priorityScreen
	priorityPinned
)

// tune shares what the path carries over the videos; voices come first and always go out.
func (s *subscriber) tune(now time.Time) {
	videos, voices := s.flowing(now)
	if s.feedback.path.interrupted() {
		for _, each := range videos {
			each.down.resume(now)
		}
	}
	tracks := make([]allocation.Track, len(videos))
	for i, each := range videos {
		tracks[i] = s.describeVideo(each, len(videos), now)
	}
	path := s.feedback.path
	left := path.rate() - voices
	var spent bandwidth.Rate
	for _, t := range tracks {
		if t.Current != allocation.None {
			spent += t.Layers[t.Current]
		}
	}
	choice, missing := s.share.Share(now.Sub(path.began), left, tracks)
	for i, each := range videos {
		s.choose(each, tracks[i], choice[i], spent > left, now)
		each.down.sendTail()
	}
	s.tellPaused()
	if missing > 0 {
		s.probe(missing + voices)
	}
}

// flowing lists the videos that have a source, and what the voices take.
func (s *subscriber) flowing(now time.Time) (videos []*slot, voices bandwidth.Rate) {
	for _, each := range s.slots {
		switch {
		case each.track == nil || len(each.track.layers) == 0:
		case each.down.kind == webrtc.RTPCodecTypeVideo:
			videos = append(videos, each)
		default:
			each.down.follow(each.track.layers[0], now, false)
			if rate, known := each.track.layers[0].meter.rate(); known {
				voices += rate
			}
		}
	}
	return videos, voices
}

// describeVideo is a video as the allocator sees it.
func (s *subscriber) describeVideo(each *slot, videos int, now time.Time) allocation.Track {
	ladder := each.track.ladderAt(now)
	costs, sizes := ladder.costs, ladder.sizes
	t := allocation.Track{Priority: priorityOther, Layers: costs, Top: topRung(sizes, costs, videos), Current: allocation.None}
	switch {
	case s.view[each.wanted].Pinned:
		t.Priority = priorityPinned
	case each.source == signaling.Screen:
		t.Priority, t.Top = priorityScreen, len(costs)-1
	case each.participant == s.leg.room.speaker:
		t.Priority = prioritySpeaker
	}
	t.Top = s.view.top(each.wanted, sizes, costs, t.Top)
	if current, layers := each.down.followed(); current != nil {
		t.Current = rungOf(ladder.rungs, current, layers)
	}
	return t
}

// choose lets a video go on with the chosen rung. When the path is full the one it had stops at once:
// until the smaller one has its key frame it would only fill queues that voices wait in.
func (s *subscriber) choose(each *slot, t allocation.Track, chosen int, full bool, now time.Time) {
	defer each.down.retry(now)
	rungs := each.track.ladderAt(now).rungs
	if !slices.ContainsFunc(t.Layers, func(cost bandwidth.Rate) bool { return cost > 0 }) {
		// Nothing is sent: wait for what was followed, or for the best to come.
		if each.paused = false; t.Current == allocation.None && t.Top != allocation.None {
			rungs[t.Top].layer.wantedAt = now
			each.down.follow(rungs[t.Top].layer, now, false)
		}
		return
	}
	hidden := t.Top == allocation.None
	if chosen == allocation.None {
		if !each.paused && !hidden {
			s.leg.room.server.metrics.paused.Inc()
		}
		each.paused = !hidden
		each.down.follow(nil, now, false)
		return
	}
	each.paused = false
	layer, layers, atOnce := rungs[chosen].layer, rungs[chosen].layers, full && chosen < t.Current
	standIn := each.track.standIn(layer, now)
	if standIn != layer {
		layers = scalability.All
	}
	layer.wantedAt, standIn.wantedAt = now, now
	each.down.follow(standIn, now, atOnce)
	each.down.limit(layers, now, atOnce)
}

// probe tries, beside everything else, if the path carries more.
func (s *subscriber) probe(wanted bandwidth.Rate) {
	i := slices.IndexFunc(s.slots, func(each *slot) bool { return each.down.pads() })
	if i < 0 || !s.up {
		return
	}
	path, down := s.feedback.path, s.slots[i].down
	burst, due := path.probes(wanted)
	if !due {
		return
	}
	s.leg.room.server.metrics.probes.Inc()
	s.leg.room.server.goroutines.Go(func() { path.probe(burst, down.pad) })
}

// tellPaused says which videos are paused for lack of bandwidth, if that is news.
func (s *subscriber) tellPaused() {
	if s.leg.kind != signaling.BrowserSession {
		return
	}
	var paused []signaling.Track
	for _, each := range s.slots {
		if each.paused && each.transceiver != nil {
			paused = append(paused, signaling.Track{MID: each.transceiver.Mid(), Source: each.source, Participant: each.participant})
		}
	}
	if slices.Equal(paused, s.paused) {
		return
	}
	s.paused = paused
	s.leg.send(signaling.Paused{Route: s.leg.route, Tracks: paused})
}
