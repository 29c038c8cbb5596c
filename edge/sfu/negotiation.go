package sfu

import (
	"errors"
	"fmt"

	"github.com/wardline/wardline/core/signaling"
)

// Limits of how much a client can make the server negotiate for one leg.
const (
	// maxQueued is how many negotiations may wait for the one that runs.
	maxQueued = 8
	// offersPerSecond and offersInARow are what a client may offer or restart.
	offersPerSecond, offersInARow = 2, 20
)

var errNegotiations = errors.New("too many negotiations at once")

// negotiations are what is to be done with a leg's peer connections: one at a time, in order, and never
// under the room's lock, because pion takes its time over descriptions and closing connections, and the
// others in the room are not to wait for that. The room's lock guards the queue itself.
type negotiations struct {
	queue   []func()
	running bool
}

// enqueue adds work; the leg's worker runs it.
func (l *leg) enqueue(work func()) {
	l.negotiations.queue = append(l.negotiations.queue, work)
	if !l.negotiations.running {
		l.negotiations.running = true
		l.room.server.goroutines.Go(l.work)
	}
}

// negotiate queues the client's message, which is refused if work on it fails.
func (l *leg) negotiate(m signaling.MediaMessage, work func() error) error {
	if len(l.negotiations.queue) >= maxQueued {
		return errNegotiations
	}
	l.enqueue(func() {
		if err := work(); err != nil {
			l.whileOpen(func() { l.refuse(m.Type(), err) })
		}
	})
	return nil
}

// throttled is an error if the client offers too often.
func (l *leg) throttled() error {
	if !l.offers.Allow() {
		return fmt.Errorf("too many offers, at most %d in a row and %d a second", offersInARow, offersPerSecond)
	}
	return nil
}

// work runs what is queued until there is nothing left.
func (l *leg) work() {
	for {
		work := l.dequeue()
		if work == nil {
			return
		}
		work()
	}
}

// dequeue takes the next piece of work, nil if there is none.
func (l *leg) dequeue() func() {
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	queued := &l.negotiations
	if l.closed || len(queued.queue) == 0 {
		queued.queue, queued.running = nil, false
		return nil
	}
	work := queued.queue[0]
	queued.queue = queued.queue[1:]
	return work
}

// whileOpen runs f under the room's lock, unless the leg was closed, and reports whether it did.
func (l *leg) whileOpen(f func()) bool {
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	if !l.closed {
		f()
	}
	return !l.closed
}
