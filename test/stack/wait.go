package stack

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"
)

// poll is how often a condition is looked at, slow how often a long wait is mentioned.
const (
	poll = 150 * time.Millisecond
	slow = 10 * time.Second
)

// progress tells a person what has come up and what is still waited for.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%6.1fs  %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}

// until looks at a condition until it holds, without a word.
func (p *progress) until(ctx context.Context, alive func() error, holds func(context.Context) error) error {
	quiet := &progress{out: io.Discard, start: p.start}
	return quiet.wait(ctx, "an agent to answer", alive, holds)
}

// wait looks at a condition until it holds, and says so. alive, asked between looks, ends it early.
func (p *progress) wait(ctx context.Context, what string, alive func() error, holds func(context.Context) error) error {
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	mention := time.NewTicker(slow)
	defer mention.Stop()
	for {
		attempt, cancel := context.WithTimeout(ctx, slow)
		last := holds(attempt)
		cancel()
		if last == nil {
			p.say("%s", what)
			return nil
		}
		if err := alive(); err != nil {
			return fmt.Errorf("waiting for: %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for: %s: %w (last: %w)", what, context.Cause(ctx), last)
		case <-mention.C:
			p.say("still waiting for: %s (%v)", what, last)
		case <-ticker.C:
		}
	}
}
