package drain

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// prefix is where in the key-value store records are, by component and id: what a media server may write no relay may.
const prefix = "wardline/drain/"

// Key is where the record of an instance of a service is, as discovery has both.
func Key(service, id string) string {
	return prefix + strings.TrimPrefix(service, "wardline-") + "/" + id
}

// Status is where a component stands.
type Status string

// Statuses. Drained is draining with nothing left to wait for.
const (
	Serving  Status = "serving"
	Draining Status = "draining"
	Drained  Status = "drained"
)

// Record is what a component says about itself in the key-value store, for operators and the autoscaler.
type Record struct {
	State Status `json:"state"`
	// Reason is why it drains: the operator's, or what else made it.
	Reason string `json:"reason,omitempty"`
	// Latched says that the drain goes on until an explicit undrain, also in the next process of the component.
	Latched bool `json:"latched,omitempty"`
	// Since is when the component began to serve or to drain.
	Since time.Time `json:"since"`
	// Encounters and Participants are what it still carries; a relay counts its allocations as participants.
	Encounters   int `json:"encounters"`
	Participants int `json:"participants"`
}

// Undrain is the value that an operator writes in place of a Record to end a latched drain.
const Undrain = `{"undrain":true}`

// maxRecord bounds what is read, in bytes: a Record is far smaller.
const maxRecord = 4 << 10

// stored is whatever may be in the store.
type stored struct {
	Record
	Undrain bool `json:"undrain,omitempty"`
}

// parse reads a value that anybody with access to the store may have written.
func parse(value []byte) (stored, error) {
	if len(value) > maxRecord {
		return stored{}, fmt.Errorf("drain record of %d bytes: at most %d", len(value), maxRecord)
	}
	var s stored
	if err := json.Unmarshal(value, &s); err != nil {
		return stored{}, fmt.Errorf("drain record: %w", err)
	}
	s.Reason = tidy(s.Reason)
	return s, nil
}
