package signaling

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
)

// idPattern is what tenants, encounters, participants, sessions and services may be called: nothing
// that needs escaping in a path, a log or a key.
var idPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidID reports whether s can name a tenant, encounter, participant or session: 1 to 64 characters,
// letters, digits, '.', '_' and '-', the first a letter or digit.
func ValidID(s string) bool { return idPattern.MatchString(s) }

// maxLeg bounds the leg a client may go on from: far more than a visit of a day can have, and none of its successors overflows.
const maxLeg = 1 << 20

// maxMIDBytes bounds a media section's identification tag; browsers use one or two digits.
const maxMIDBytes = 16

// maxUnix is the end of the year 9999, in Unix seconds.
const maxUnix = 253_402_300_799

// Bounds of the simulcast layers of a track and their names.
const maxRIDs, maxRIDBytes = 8, 16

// maxCodecBytes bounds the name of a codec.
const maxCodecBytes = 16

func checkID(member, value string) error {
	if !ValidID(value) {
		return fmt.Errorf("%s %.70q: must match %s", member, value, idPattern)
	}
	return nil
}

func checkOptionalID(member, value string) error {
	if value == "" {
		return nil
	}
	return checkID(member, value)
}

func checkLength(member string, length, limit int) error {
	if length > limit {
		return fmt.Errorf("%s: %d, at most %d", member, length, limit)
	}
	return nil
}

func checkDescription(pc PeerConnection, sdp string) error {
	if err := pc.validate(); err != nil {
		return err
	}
	if sdp == "" {
		return fmt.Errorf("sdp: empty")
	}
	return checkLength("sdp bytes", len(sdp), MaxSDPBytes)
}

func (pc PeerConnection) validate() error {
	if pc != Publish && pc != Subscribe {
		return fmt.Errorf("pc %.16q: must be %q or %q", string(pc), Publish, Subscribe)
	}
	return nil
}

func (s Source) validate() error {
	if s != Microphone && s != Camera && s != Screen {
		return fmt.Errorf("source %.16q: must be %q, %q or %q", string(s), Microphone, Camera, Screen)
	}
	return nil
}

// Validate implements Message.
func (r Route) Validate() error {
	if r.Leg == 0 {
		return fmt.Errorf("leg: must be at least 1")
	}
	return nil
}

func (r EncounterRef) validate() error {
	if err := checkID("tenant", r.Tenant); err != nil {
		return err
	}
	return checkID("encounter", r.Encounter)
}

// Validate implements Message.
func (m Join) Validate() error {
	if m.Token == "" {
		return fmt.Errorf("token: empty")
	}
	if err := checkLength("token bytes", len(m.Token), 8<<10); err != nil {
		return err
	}
	if err := checkLength("rtt entries", len(m.RTT), 64); err != nil {
		return err
	}
	for region, ms := range m.RTT {
		if err := checkID("rtt region", region); err != nil {
			return err
		}
		if math.IsNaN(ms) || ms < 0 || ms > 60_000 {
			return fmt.Errorf("rtt %s: %v, must be 0 to 60000 ms", region, ms)
		}
	}
	if m.Leg > maxLeg {
		return fmt.Errorf("leg: %d, at most %d", m.Leg, maxLeg)
	}
	return checkOptionalID("resume", m.Resume)
}

// Validate implements Message.
func (m Welcome) Validate() error { return Gateways{m.Gateways}.Validate() }

// Validate implements Message.
func (m Gateways) Validate() error {
	if err := checkLength("gateways", len(m.Gateways), MaxGateways); err != nil {
		return err
	}
	for _, gateway := range m.Gateways {
		if err := checkID("gateway", gateway.ID); err != nil {
			return err
		}
		if err := checkID("gateway region", gateway.Region); err != nil {
			return err
		}
		if Origin(gateway.URL) == "" || Origin(gateway.URL) != gateway.URL {
			return fmt.Errorf("gateway %s: url %.100q: must be https or http, a host and perhaps a port, in lower case",
				gateway.ID, gateway.URL)
		}
	}
	return nil
}

// Validate implements Message.
func (m Admit) Validate() error { return checkID("participant", m.Participant) }

// Validate implements Message.
func (m Remove) Validate() error { return checkID("participant", m.Participant) }

// Validate implements Message.
func (m MuteRequest) Validate() error {
	if err := checkID("participant", m.Participant); err != nil {
		return err
	}
	return m.Source.validate()
}

// Validate implements Message.
func (m PublicKey) Validate() error {
	point, err := base64.RawURLEncoding.Strict().DecodeString(m.Key)
	if err == nil {
		_, err = ecdh.P256().NewPublicKey(point)
	}
	if err != nil {
		return errors.New("key: must be an uncompressed point on P-256 in base64url without padding")
	}
	return nil
}

// Validate implements Message.
func (m SenderKey) Validate() error {
	if err := checkID("participant", m.Participant); err != nil {
		return err
	}
	if err := checkOptionalID("by", m.By); err != nil {
		return err
	}
	if n := base64.RawURLEncoding.DecodedLen(len(m.Data)); n < 1 || n > MaxSealedBytes {
		return fmt.Errorf("data: %d bytes, must be 1 to %d", n, MaxSealedBytes)
	}
	if _, err := base64.RawURLEncoding.Strict().DecodeString(m.Data); err != nil {
		return errors.New("data: must be base64url without padding")
	}
	return nil
}

// Validate implements Message.
func (m Stats) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := checkLength("ice_state bytes", len(m.ICEState), 32); err != nil {
		return err
	}
	if err := checkLength("path bytes", len(m.Path), 16); err != nil {
		return err
	}
	for _, tracks := range [][]TrackStats{m.Send, m.Receive} {
		if err := checkLength("tracks", len(tracks), MaxTracks); err != nil {
			return err
		}
		for _, track := range tracks {
			if err := track.Source.validate(); err != nil {
				return err
			}
			if err := checkOptionalID("participant", track.Participant); err != nil {
				return err
			}
			if err := checkLength("codec bytes", len(track.Codec), 32); err != nil {
				return err
			}
		}
	}
	return nil
}

// Messages that are valid whatever they hold: they come from our own side, or have nothing to check.

func (Ping) Validate() error     { return nil }
func (Pong) Validate() error     { return nil }
func (Lock) Validate() error     { return nil }
func (End) Validate() error      { return nil }
func (Leave) Validate() error    { return nil }
func (Roster) Validate() error   { return nil }
func (Bye) Validate() error      { return nil }
func (Error) Validate() error    { return nil }
func (Hello) Validate() error    { return nil }
func (Draining) Validate() error { return nil }
func (Refused) Validate() error  { return nil }
