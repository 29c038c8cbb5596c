package signaling

import (
	"fmt"
)

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
func (m Codec) Validate() error {
	if err := m.Route.Validate(); err != nil {
		return err
	}
	if err := checkLength("codec name bytes", len(m.Name), maxCodecBytes); err != nil {
		return err
	}
	return m.Source.validate()
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
