package signaling

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/netip"
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
func (m Offer) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := checkTracks(m.Tracks); err != nil {
		return err
	}
	return checkDescription(m.PC, m.SDP)
}

func checkTracks(tracks []Track) error {
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
		if err := checkLength("mid bytes", len(track.MID), maxMIDBytes); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements Message.
func (m View) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := checkLength("tiles", len(m.Tiles), MaxTracks); err != nil {
		return err
	}
	for _, tile := range m.Tiles {
		if err := checkID("participant", tile.Participant); err != nil {
			return err
		}
		if err := tile.Source.validate(); err != nil {
			return err
		}
		if tile.Width < 0 || tile.Width > MaxTilePixels || tile.Height < 0 || tile.Height > MaxTilePixels {
			return fmt.Errorf("tile of %d by %d: must be 0 to %d", tile.Width, tile.Height, MaxTilePixels)
		}
	}
	return nil
}

// Validate implements Message.
func (m Layers) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := checkLength("active layers", len(m.Active), maxRIDs); err != nil {
		return err
	}
	for _, rid := range m.Active {
		if err := checkLength("rid bytes", len(rid), maxRIDBytes); err != nil {
			return err
		}
	}
	return m.Source.validate()
}

// Validate implements Message.
func (m Tracks) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	return checkTracks(m.Tracks)
}

// Validate implements Message.
func (m Paused) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	return checkTracks(m.Tracks)
}

// Validate implements Message.
func (m Answer) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	return checkDescription(m.PC, m.SDP)
}

// Validate implements Message.
func (m Candidate) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := m.PC.validate(); err != nil {
		return err
	}
	if err := checkLength("mid bytes", len(m.MID), maxMIDBytes); err != nil {
		return err
	}
	return checkLength("candidate bytes", len(m.Candidate), MaxCandidateBytes)
}

// Validate implements Message.
func (m Peers) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	for _, peer := range m.Peers {
		if err := checkID("participant", peer.Participant); err != nil {
			return err
		}
	}
	for _, participant := range m.Gone {
		if err := checkID("gone participant", participant); err != nil {
			return err
		}
	}
	return nil
}

// Validate implements Message.
func (m Speaker) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	return checkOptionalID("participant", m.Participant)
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

// Validate implements Message.
func (m Reserve) Validate() error { return m.validate() }

// Validate implements Message.
func (m Attach) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := m.validate(); err != nil {
		return err
	}
	if err := checkID("participant", m.Participant); err != nil {
		return err
	}
	switch m.Kind {
	case BrowserSession, WHIPSession, WHEPSession:
	default:
		return fmt.Errorf("kind %.16q: must be browser, whip or whep", string(m.Kind))
	}
	for _, source := range m.CanPublish {
		if err := source.validate(); err != nil {
			return err
		}
	}
	return checkOptionalID("target", m.Target)
}

// Validate implements Message.
func (m Membership) Validate() error {
	if err := m.validate(); err != nil {
		return err
	}
	for _, ids := range [][]string{m.Admitted, m.Waiting} {
		for _, id := range ids {
			if err := checkID("participant", id); err != nil {
				return err
			}
		}
	}
	return nil
}

// Validate implements Message.
func (m Restart) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	return checkDescription(m.PC, m.Fragment)
}

// Validate implements Message.
func (m Restarted) Validate() error { return Restart(m).Validate() }

// Validate implements Message.
func (m Heartbeat) Validate() error {
	if math.IsNaN(m.Load) || math.IsInf(m.Load, 0) || m.Load < 0 {
		return fmt.Errorf("load %v: must be 0 or more", m.Load)
	}
	return nil
}

// Validate implements Message.
func (m Revoke) Validate() error {
	if err := checkLength("revocations", len(m.Revocations), MaxRevocations); err != nil {
		return err
	}
	for _, revocation := range m.Revocations {
		if err := checkID("credential", revocation.Credential); err != nil {
			return err
		}
		if revocation.Until <= 0 || revocation.Until > maxUnix {
			return fmt.Errorf("until %d: must be 1 to %d, in Unix seconds", revocation.Until, int64(maxUnix))
		}
	}
	return nil
}

// Validate implements Message.
func (m Revoked) Validate() error {
	if err := checkLength("credentials", len(m.Credentials), MaxRevocations); err != nil {
		return err
	}
	for _, credential := range m.Credentials {
		if err := checkID("credential", credential); err != nil {
			return err
		}
	}
	if m.Ended < 0 {
		return fmt.Errorf("ended %d: must be 0 or more", m.Ended)
	}
	return nil
}

// Validate implements Message.
func (m Allow) Validate() error { return checkAddresses(m.Addresses) }

// Validate implements Message.
func (m Allowed) Validate() error { return checkAddresses(m.Addresses) }

func checkAddresses(addresses []string) error {
	if err := checkLength("addresses", len(addresses), MaxAllowed); err != nil {
		return err
	}
	for _, address := range addresses {
		if at, err := netip.ParseAddrPort(address); err != nil || at.Port() == 0 {
			return fmt.Errorf("address %.70q: must be IP:PORT", address)
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
