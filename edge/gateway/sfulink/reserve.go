package sfulink

import (
	"context"
	"fmt"
	"slices"

	"github.com/wardline/wardline/core/signaling"
)

// reservation identifies a question to an SFU; the answer repeats it.
type reservation struct {
	sfu   string
	ref   signaling.EncounterRef
	epoch uint64
}

// Reserve asks an SFU to host an encounter under an epoch and waits for the answer, dialing if need be.
// ErrRefused carries the SFU's code; ErrDown or the context's error say that there was no answer. One known to be
// dead is ErrDown at once: there is no time to lose on it.
func (p *Pool) Reserve(ctx context.Context, sfu string, ref signaling.EncounterRef, epoch uint64) error {
	if err := p.AwaitUp(ctx, sfu); err != nil {
		return err
	}
	key, answer := reservation{sfu, ref, epoch}, make(chan error, 1)
	p.mu.Lock()
	p.reserves[key] = append(p.reserves[key], answer)
	p.mu.Unlock()
	defer p.forget(key, answer)
	if err := p.Send(sfu, signaling.Frame{Message: signaling.Reserve{EncounterRef: ref, Epoch: epoch}}); err != nil {
		return err
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return fmt.Errorf("reserve at %s: %w", sfu, ctx.Err())
	}
}

// answer settles the reservations that match.
func (p *Pool) answer(matches func(reservation) bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for key, waiting := range p.reserves {
		if !matches(key) {
			continue
		}
		for _, answer := range waiting {
			answer <- err // each channel has room for the one answer it gets
		}
		delete(p.reserves, key)
	}
}

func (p *Pool) reserved(sfu string, m signaling.Reserve) {
	key := reservation{sfu, m.EncounterRef, m.Epoch}
	p.answer(func(r reservation) bool { return r == key }, nil)
}

// refused matches by epoch where the refusal names one.
func (p *Pool) refused(sfu string, m signaling.Refused) {
	p.answer(func(r reservation) bool {
		return r.sfu == sfu && r.ref == m.EncounterRef && (m.Epoch == 0 || m.Epoch == r.epoch)
	}, fmt.Errorf("%w: %.32s", ErrRefused, m.Code))
}

// lostReserves settles what was asked over a channel that is gone.
func (p *Pool) lostReserves(sfu string) {
	p.answer(func(r reservation) bool { return r.sfu == sfu }, fmt.Errorf("%w: %s", ErrDown, sfu))
}

func (p *Pool) forget(key reservation, answer chan error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := slices.DeleteFunc(p.reserves[key], func(other chan error) bool { return other == answer })
	if len(rest) == 0 {
		delete(p.reserves, key)
		return
	}
	p.reserves[key] = rest
}
