package e2ee

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/wardline/wardline/core/signaling"
)

// againAfter is how long a key that was not received is not sent again.
const againAfter = time.Second

// Exchange gives the others the keys to what one participant sends, in one session. Whenever somebody comes or goes there
// is a new one: a browser would go a step on for who comes, which costs the others no message. It is for one goroutine.
type Exchange struct {
	encounter string
	own       identity
	private   *ecdh.PrivateKey
	send      func(signaling.Message)
	peers     map[string]*peer
	key       mediaKey
}

// peer is another participant.
type peer struct {
	key     string // as announced
	pair    *pair  // nil if the key is none
	has     bool   // they have confirmed our key
	sendsAt time.Time
}

// New makes the keys of a session; send sends to the gateway.
func New(encounter, participant string, send func(signaling.Message)) (*Exchange, error) {
	private, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key pair: %w", err)
	}
	x := &Exchange{
		encounter: encounter, own: identity{participant, private.PublicKey()}, private: private, send: send,
		peers: make(map[string]*peer),
	}
	_, _ = rand.Read(x.key.secret[:]) // never fails
	return x, nil
}

// Announce says which key others can seal to.
func (x *Exchange) Announce() {
	x.send(signaling.PublicKey{Key: base64.RawURLEncoding.EncodeToString(x.own.key.Bytes())})
}

// Sealer encrypts what is sent from now on of a source, over all legs alike.
func (x *Exchange) Sealer(source signaling.Source) (*Sealer, error) {
	return newSealer(x.own.participant, source, 0, x.key)
}

// Roster takes who is there, and reports whether there is a new key for it: sealers are then to be made anew.
func (x *Exchange) Roster(members []signaling.Member, now time.Time) (changed bool) {
	present := make(map[string]string)
	for _, each := range members {
		if each.State == "admitted" && each.Key != "" && each.Participant != x.own.participant {
			present[each.Participant] = each.Key
		}
	}
	for id, known := range x.peers {
		if present[id] != known.key {
			delete(x.peers, id)
			changed = true
		}
	}
	for id, key := range present {
		if x.peers[id] != nil {
			continue
		}
		changed = true
		x.peers[id] = &peer{key: key}
		if theirs, err := parseKey(key); err == nil {
			x.peers[id].pair, _ = newPair(x.encounter, x.own, x.private, identity{id, theirs})
		}
	}
	if !changed || x.key.generation == math.MaxUint16 {
		return false
	}
	x.key.generation++
	_, _ = rand.Read(x.key.secret[:])
	for _, each := range x.peers {
		each.has, each.sendsAt = false, now
	}
	x.Step(now)
	return true
}

// Step sends the key to those who have not confirmed it, when that is due.
func (x *Exchange) Step(now time.Time) {
	for _, id := range slices.Sorted(maps.Keys(x.peers)) {
		each := x.peers[id]
		if each.pair == nil || each.has || now.Before(each.sendsAt) {
			continue
		}
		each.sendsAt = now.Add(againAfter)
		x.send(signaling.SenderKey{Participant: id, Data: each.pair.sealKey(x.key)})
	}
}

// Receive takes another's letter. Their key is confirmed and not kept: nothing is decrypted here.
func (x *Exchange) Receive(m signaling.SenderKey) {
	from := x.peers[m.By]
	if from == nil || from.pair == nil {
		return // they say it again when they are known
	}
	kind, generation, err := from.pair.open(m.Data)
	switch {
	case err != nil: // not for our key, or not from them
	case kind == kindReceipt:
		from.has = from.has || generation == x.key.generation
	default:
		x.send(signaling.SenderKey{Participant: m.By, Data: from.pair.sealReceipt(generation)})
	}
}
