package timeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrEvent says that a participant's line is not an event.
var ErrEvent = errors.New("not a participant's event")

// MaxLine bounds a participant's line in bytes.
const MaxLine = 64 << 10

// microphone is the source whose packets come all the time, so that gaps can be told from pictures that do not change.
const microphone = "microphone"

// clientEvent is one line of `wardline participant`, as docs/drills.md describes it.
type clientEvent struct {
	T         time.Time `json:"t"`
	Event     string    `json:"event"`
	Gateway   string    `json:"gateway"`
	GatewayID string    `json:"gateway_id"`
	Resumed   bool      `json:"resumed"`
	State     string    `json:"state"`
	Error     string    `json:"error"`
	SFU       string    `json:"sfu"`
	Region    string    `json:"region"`
	Epoch     uint64    `json:"epoch"`
	Reason    string    `json:"reason"`
	From      string    `json:"from"`
	Source    string    `json:"source"`
	Start     time.Time `json:"start"`
	End       time.Time `json:"end"`
	Since     time.Time `json:"since"`
	Path      string    `json:"path"`
	Relay     string    `json:"relay"`
	Code      string    `json:"code"`
}

// Decode reads one line of a participant. A line may be no event of the timeline, or several. Kinds that are not known are
// left out, since the contract may grow; what is no event at all is ErrEvent.
func Decode(who Person, line []byte) ([]Event, error) {
	if len(line) > MaxLine {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrEvent, len(line), MaxLine)
	}
	var c clientEvent
	if err := json.Unmarshal(line, &c); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, err)
	}
	if c.T.IsZero() || c.Event == "" {
		return nil, fmt.Errorf("%w: members t and event are required", ErrEvent)
	}
	events := c.events()
	for i := range events {
		events[i].Visit, events[i].Participant = who.Visit, who.Participant
	}
	return events, nil
}

func (c clientEvent) events() []Event {
	switch c.Event {
	case "joined":
		gateway := c.GatewayID
		if gateway == "" {
			gateway = c.Gateway
		}
		text := c.State
		if c.Resumed {
			text = "resumed"
		}
		return []Event{{At: c.T, Kind: Connected, Gateway: gateway, Text: text}}
	case "lost":
		return []Event{{At: c.T, Kind: Disconnected, Text: c.Error}}
	case "placed":
		return []Event{{At: c.T, Kind: Placed, SFU: c.SFU, Region: c.Region, Epoch: c.Epoch, Text: c.Reason}}
	case "media", "silent", "gap":
		return c.media()
	case "stats":
		if c.Relay == "" {
			return nil
		}
		return []Event{{At: c.T, Kind: Note, Relay: c.Relay}}
	case "ended":
		return []Event{{At: c.T, Kind: Ended, Text: c.Code}}
	case "connecting", "admitted", "bye", "error":
		return []Event{{At: c.T, Kind: Note, Text: strings.TrimSpace(c.Event + " " + c.Code)}}
	default:
		return nil
	}
}

// media are the events about somebody's microphone.
func (c clientEvent) media() []Event {
	switch {
	case c.From == "":
		return nil
	case c.Event == "media" && c.Source == microphone:
		return []Event{{At: c.T, Kind: MediaOn, From: c.From}}
	case c.Event == "silent" && !c.Since.IsZero():
		return []Event{{At: c.T, Kind: MediaOff, From: c.From, Since: c.Since}}
	case c.Event == "gap" && !c.Start.IsZero() && c.End.After(c.Start):
		// A short gap is noticed at its end only.
		return []Event{{At: c.End, Kind: MediaOff, From: c.From, Since: c.Start}, {At: c.End, Kind: MediaOn, From: c.From}}
	}
	return nil
}
