//go:build linux && !race

package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/wardline/wardline/edge/client"
)

// fresh is how old news of somebody's media may be to say that it flows: they come once a second.
const fresh = 2500 * time.Millisecond

// person takes part in a visit, and remembers what it hears of whom.
type person struct {
	id, visit, token string

	leave context.CancelFunc
	ended chan struct{}

	mu     sync.Mutex
	sfu    string                  // where the newest leg is
	heard  map[string]client.Event // the newest stats by participant
	gaps   []client.Event
	stalls []client.Event
	events []string
	err    error
}

// attend takes part until told to leave.
func (p *person) attend(gateways []string) {
	ctx, cancel := context.WithCancel(context.Background())
	p.leave, p.ended, p.heard = cancel, make(chan struct{}), map[string]client.Event{}
	go func() {
		defer close(p.ended)
		err := client.Run(ctx, client.Config{
			Gateways: gateways, Token: p.token, Publish: true, Admit: strings.Contains(p.id, "provider"), RTT: map[string]float64{},
			DirectUDP: true, Events: p.take,
		})
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = err
	}()
}

// take notes an event.
func (p *person) take(event client.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch event.Kind {
	case client.Stats:
		p.heard[event.From] = event
		if event.StallMs > 100 {
			p.stalls = append(p.stalls, event)
		}
		return
	case client.Placed:
		p.sfu = event.SFU
	case client.Gap:
		p.gaps = append(p.gaps, event)
	default:
	}
	if line, err := json.Marshal(event); err == nil {
		p.events = append(p.events, string(line))
	}
}

// placed is the media server that the person was sent to last.
func (p *person) placed() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sfu
}

// misses says what of the others this person does not get, or nothing.
func (p *person) misses(others []*person, now time.Time) (missing []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended:
		return []string{fmt.Sprintf("%s ended: %v", p.id, p.err)}
	default:
	}
	for _, other := range others {
		if other == p {
			continue
		}
		last, known := p.heard[other.id]
		switch {
		case !known || now.Sub(last.T) > fresh:
			missing = append(missing, fmt.Sprintf("%s hears nothing of %s", p.id, other.id))
		case last.Packets < 20:
			missing = append(missing, fmt.Sprintf("%s hears %d packets a second of %s", p.id, last.Packets, other.id))
		case last.VideoPackets == 0:
			missing = append(missing, fmt.Sprintf("%s sees nothing of %s", p.id, other.id))
		}
	}
	return missing
}

// longestGap is the longest time without somebody's voice that began since then, but for what a busy machine took.
func (p *person) longestGap(since time.Time) (longest time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, gap := range p.gaps {
		if gap.Start.Before(since) {
			continue
		}
		ms := gap.Ms
		for _, stall := range p.stalls {
			if stall.T.After(gap.Start) && stall.T.Before(gap.End.Add(time.Second)) {
				ms -= stall.StallMs
			}
		}
		longest = max(longest, time.Duration(ms*float64(time.Millisecond)))
	}
	return longest
}

// history is what happened to the person.
func (p *person) history() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.events, "\n") + "\n"
}
