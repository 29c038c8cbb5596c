// Package signaling is the one message vocabulary spoken by browsers, gateways, SFUs and relays.
//
// Every message is a JSON object whose "type" member selects its shape; docs/protocol.md is the
// description for people, this package is the one for the compiler, and a test holds them together.
package signaling

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
)

// Limits of what a peer may send; anything larger is refused before it is parsed further.
const (
	// MaxMessageBytes bounds one encoded message, SDP included.
	MaxMessageBytes = 256 << 10
	// MaxSDPBytes bounds one session description.
	MaxSDPBytes = 128 << 10
	// MaxCandidateBytes bounds one ICE candidate line.
	MaxCandidateBytes = 1 << 10
	// MaxTracks bounds the tracks one description may announce.
	MaxTracks = 256
)

// Errors that Decode returns, wrapped with what was wrong.
var (
	ErrTooLarge    = errors.New("message too large")
	ErrMalformed   = errors.New("malformed message")
	ErrUnknownType = errors.New("unknown message type")
	ErrInvalid     = errors.New("invalid message")
)

// Message is any value of the vocabulary.
type Message interface {
	// Type is the value of the "type" member on the wire.
	Type() string
	// Validate reports the first member whose value is outside what the protocol allows.
	Validate() error
}

// MediaMessage is a message that belongs to one leg and is spliced through the gateway unchanged.
type MediaMessage interface {
	Message
	On() Route
}

// Encode renders a message with its "type" member first. ErrTooLarge if nobody would accept it: a message
// that was decoded can grow on its way through a gateway, and must not end the channel it is passed on by.
func Encode(m Message) ([]byte, error) {
	body, err := marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", m.Type(), err)
	}
	out := make([]byte, 0, len(body)+len(m.Type())+len(`{"type":"",`))
	out = append(out, `{"type":"`...)
	out = append(out, m.Type()...)
	out = append(out, '"')
	if len(body) > len("{}") {
		out = append(out, ',')
	}
	out = append(out, body[1:]...)
	if len(out) > MaxMessageBytes {
		return nil, fmt.Errorf("encode %s: %w: %d bytes, at most %d", m.Type(), ErrTooLarge, len(out), MaxMessageBytes)
	}
	return out, nil
}

// marshal is json.Marshal without the escapes for HTML, which make one byte six.
func marshal(v any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// Decode parses and validates one message from an untrusted peer. Unknown members are ignored, so
// that newer peers can say more; unknown types are ErrUnknownType, so that the caller can decide.
func Decode(data []byte) (Message, error) {
	if len(data) > MaxMessageBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(data), MaxMessageBytes)
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	prototype, ok := vocabulary[head.Type]
	if !ok {
		return nil, fmt.Errorf("%w: %.32q", ErrUnknownType, head.Type)
	}
	value := reflect.New(prototype)
	decoder := json.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(value.Interface()); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrMalformed, head.Type, err)
	}
	message, ok := value.Elem().Interface().(Message)
	if !ok {
		return nil, fmt.Errorf("%w: %.32q", ErrUnknownType, head.Type)
	}
	if err := message.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrInvalid, head.Type, err)
	}
	return message, nil
}

// vocabulary maps each "type" to the Go type that carries it.
var vocabulary = func() map[string]reflect.Type {
	types := make(map[string]reflect.Type)
	for _, m := range []Message{
		// client -> gateway
		Join{},
		Ping{},
		Admit{},
		Remove{},
		MuteRequest{},
		PublicKey{},
		SenderKey{},
		Lock{},
		End{},
		Leave{},
		Stats{},
		LegReady{},
		// gateway -> client
		Welcome{},
		Gateways{},
		Roster{},
		Placed{},
		Bye{},
		Error{},
		Pong{},
		// client <-> SFU, spliced by the gateway
		Offer{},
		Answer{},
		Candidate{},
		MediaState{},
		Peers{},
		Tracks{},
		Speaker{},
		Paused{},
		View{},
		Layers{},
		Codec{},
		RestartICE{},
		// gateway <-> SFU or relay
		Hello{},
		Heartbeat{},
		Draining{},
		// gateway <-> SFU only
		Reserve{},
		Attach{},
		Attached{},
		Refused{},
		Detach{},
		Gone{},
		Membership{},
		Restart{},
		Restarted{},
		// gateway <-> relay only
		Revoke{},
		Revoked{},
		Allow{},
		Allowed{},
	} {
		types[m.Type()] = reflect.TypeOf(m)
	}
	return types
}()
