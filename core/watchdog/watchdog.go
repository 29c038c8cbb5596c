// Package watchdog notices that a component stands still in a process that lives: a deadlock looks healthy from outside as long as one
// goroutine still answers, and lasts until somebody starts the process again.
package watchdog

import (
	"context"
	"time"
)

const (
	// lookEvery is how often the watchdog looks.
	lookEvery = time.Second
	// patience is how many times in a row it sees the same before it takes it for standstill. Its own looks are counted, and not the
	// time: of a process that was stopped or starved meanwhile it knows no more than that.
	patience = 15
)

// Watch returns true when progress, a count, has been the same or has not returned for 15 s, and false once ctx ends.
func Watch(ctx context.Context, progress func() uint64) (standstill bool) {
	counts := make(chan uint64, 1)
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	asked, last, same := false, uint64(0), 0
	for {
		select {
		case <-ctx.Done():
			return false
		case <-ticker.C:
		}
		same++
		select {
		case now := <-counts:
			asked = false
			if now != last {
				last, same = now, 0
			}
		default:
		}
		if same > patience {
			return true
		}
		if !asked {
			asked = true
			go func() { counts <- progress() }()
		}
	}
}
