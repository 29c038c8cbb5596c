// Package client is a participant of a visit without a browser: it speaks the protocol of docs/protocol.md with any
// gateway, sends a microphone and a camera that are silent and dark, and measures what it hears of the others. Drills
// and load tests are made of it.
//
// It behaves as the page of edge/web does: one socket to a gateway, another gateway when that is lost, a leg beside the
// old one when it is placed on another SFU. What happens to it is told as events. As a process ("wardline participant")
// it prints each Event as one line of JSON, for example
//
//	{"t":"2026-01-02T15:04:05.123456789Z","event":"gap","leg":2,"from":"p-1","start":"...","end":"...","ms":1730.2}
//
// which docs/drills.md describes for those who read them: the JSON of Event is the contract.
package client
