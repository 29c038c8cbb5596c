//go:build linux && !race

package chaos

import (
	"fmt"
	"syscall"
	"time"
)

const (
	// drainTimeout is that of the media servers, stopWithin what a stop may take besides.
	drainTimeout, stopWithin = 20 * time.Second, 20 * time.Second
	// mostPeople take part at once.
	mostPeople = 18
)

// fault is something that happens to the servers, or that somebody does.
type fault struct {
	what string
	do   func() // until it is over
	// media says that it takes a media server away from people without a word, moving that they have to be moved from one, signaling
	// that nobody may be there to do so.
	media, moving, signaling bool
}

// fault chooses one.
func (w *world) fault() fault {
	sfu, gateway := w.sfuOf(w.anybody()), one(w, w.gateways)
	pause := w.between(100*time.Millisecond, 6*time.Second)
	if w.random.IntN(5) == 0 {
		pause = w.between(6*time.Second, 40*time.Second)
	}
	switch w.random.IntN(10) {
	case 0:
		return fault{media: true, what: said(sfu.name, "killed", pause), do: func() { w.end(sfu, syscall.SIGKILL, pause) }}
	case 1:
		return fault{media: true, what: said(sfu.name, "frozen", pause), do: func() { freeze(sfu, pause) }}
	case 2:
		return fault{moving: true, what: said(sfu.name, "stopped", pause), do: func() { w.end(sfu, syscall.SIGTERM, pause) }}
	case 3:
		return fault{signaling: true, what: said(gateway.name, "killed", pause), do: func() { w.end(gateway, syscall.SIGKILL, pause) }}
	case 4:
		return fault{signaling: true, what: said(gateway.name, "frozen", pause), do: func() { freeze(gateway, pause) }}
	case 5:
		return fault{signaling: true, what: said(gateway.name, "stopped", pause), do: func() { w.end(gateway, syscall.SIGTERM, pause) }}
	case 6:
		return fault{signaling: true, what: said(w.consul.name, "frozen", pause), do: func() { freeze(w.consul, pause) }}
	case 7:
		what, by := "killed", syscall.SIGKILL
		if w.random.IntN(2) == 0 {
			what, by = "stopped", syscall.SIGTERM
		}
		return fault{signaling: true, what: said("all gateways", what, pause), do: func() { w.endAll(w.gateways, by, pause) }}
	case 8:
		visit, number := w.random.IntN(visits), w.next()
		return fault{what: "somebody joins", do: func() { w.join(visit, number) }}
	default:
		p := w.anybody()
		return fault{what: p.id + " comes back", do: func() { w.comeBack(p) }}
	}
}

func said(whom, what string, pause time.Duration) string {
	return fmt.Sprintf("%s %s for %s", whom, what, pause.Round(time.Millisecond))
}

// end has a process end, and starts it again.
func (w *world) end(p *process, by syscall.Signal, pause time.Duration) {
	if err := p.end(by, drainTimeout+stopWithin); err != nil {
		w.t.Error(err)
	}
	time.Sleep(pause)
	if err := p.start(); err != nil {
		w.t.Error(err)
	}
}

// endAll has processes end one after the other, and starts them again together.
func (w *world) endAll(all []*process, by syscall.Signal, pause time.Duration) {
	for _, p := range all {
		if err := p.end(by, stopWithin); err != nil {
			w.t.Error(err)
		}
	}
	time.Sleep(pause)
	for _, p := range all {
		if err := p.start(); err != nil {
			w.t.Error(err)
		}
	}
}

func freeze(p *process, pause time.Duration) {
	p.signal(syscall.SIGSTOP)
	time.Sleep(pause)
	p.signal(syscall.SIGCONT)
}
