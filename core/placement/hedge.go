package placement

import (
	"context"
	"errors"
	"time"
)

// firstToTake asks the candidates in order and returns the first that accepts. The next is asked as soon as one
// says no, and also when one has not answered within patience: then both are waited for, so that SFUs of a region
// that is gone do not each cost their full timeout. Whoever accepted too late holds a reservation that lapses.
//
// Without one it returns the errors of all, joined; failed hears of each as it comes.
func firstToTake(
	ctx context.Context, candidates []Candidate, patience time.Duration,
	ask func(context.Context, Candidate) error, failed func(Candidate, error),
) (Candidate, error) {
	ctx, cancel := context.WithCancel(ctx)
	type answer struct {
		from Candidate
		err  error
	}
	answers := make(chan answer)
	asked, open := 0, 0
	defer func() {
		cancel()
		for ; open > 0; open-- { // nobody is left behind
			<-answers
		}
	}()
	var late *time.Timer
	next := func() {
		if asked == len(candidates) {
			return
		}
		c := candidates[asked]
		asked, open = asked+1, open+1
		go func() { answers <- answer{c, ask(ctx, c)} }()
		late.Reset(patience)
	}
	late = time.NewTimer(patience)
	defer late.Stop()
	next()
	var refusals []error
	for open > 0 {
		select {
		case a := <-answers:
			open--
			if a.err == nil {
				return a.from, nil
			}
			if ctx.Err() == nil {
				failed(a.from, a.err)
			}
			refusals = append(refusals, a.err)
			if ctx.Err() == nil {
				next()
			}
		case <-late.C:
			next()
		}
	}
	return Candidate{}, errors.Join(refusals...)
}
