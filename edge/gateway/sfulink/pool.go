// Package sfulink is a gateway's side of the control channels to media servers (docs/protocol.md, "Gateway and SFU"):
// a control.Pool that can ask an SFU to host an encounter.
package sfulink

import (
	"errors"
	"sync"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// Errors of a Pool.
var (
	// ErrDown says that the link is not up: nothing was sent.
	ErrDown = control.ErrDown
	// ErrRefused wraps an SFU's refusal of a reservation.
	ErrRefused = errors.New("refused by the media server")
)

// State is where a link stands.
type State = control.State

// Phase is a part of State.
type Phase = control.Phase

// Phases of a link, as in package control.
const (
	Idle    = control.Idle
	Dialing = control.Dialing
	Up      = control.Up
	Dead    = control.Dead
)

// Events is told about links. Calls for one link come one after the other, and must not block.
type Events interface {
	// LinkUp and LinkDead are those of control.Events.
	LinkUp(sfu string, generation uint64)
	LinkDead(sfu string)
	// LinkFrame passes on a frame other than hello, heartbeat and answers to Reserve; of draining, State knows already.
	LinkFrame(sfu string, frame signaling.Frame)
}

// Pool is a gateway's control channels to SFUs.
type Pool struct {
	*control.Pool
	events Events

	mu       sync.Mutex
	reserves map[reservation][]chan error
}

// New returns a pool without links, which tells events about those it will have.
func New(config control.PoolConfig, events Events) *Pool {
	p := &Pool{events: events, reserves: make(map[reservation][]chan error)}
	config.Kind, config.Events = "sfu", (*linkEvents)(p)
	p.Pool = control.NewPool(config)
	return p
}

// linkEvents keeps the answers to Reserve to the pool.
type linkEvents Pool

// LinkUp implements control.Events.
func (e *linkEvents) LinkUp(sfu string, generation uint64) { e.events.LinkUp(sfu, generation) }

// LinkLost implements control.Events.
func (e *linkEvents) LinkLost(sfu string) { (*Pool)(e).lostReserves(sfu) }

// LinkDead implements control.Events.
func (e *linkEvents) LinkDead(sfu string) { e.events.LinkDead(sfu) }

// LinkFrame implements control.Events.
func (e *linkEvents) LinkFrame(sfu string, frame signaling.Frame) {
	switch m := frame.Message.(type) {
	case signaling.Reserve:
		(*Pool)(e).reserved(sfu, m)
		return
	case signaling.Refused:
		if m.About == (signaling.Reserve{}).Type() {
			(*Pool)(e).refused(sfu, m)
			return
		}
	}
	e.events.LinkFrame(sfu, frame)
}
