package gateway

import (
	"errors"
	"fmt"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
)

// Errors of authorize.
var (
	errNotAllowed = errors.New("not allowed")
	errDirection  = errors.New("not a message for a gateway")
)

// publishing is the action of sending a source.
func publishing(source signaling.Source) access.Action {
	switch source {
	case signaling.Microphone:
		return access.PublishAudio
	case signaling.Screen:
		return access.PublishScreen
	default:
		return access.PublishVideo
	}
}

// authorize is the one place where the permission matrix meets a client's messages. It fails with
// errNotAllowed, or with errDirection for what no client may say.
func authorize(role access.Role, m signaling.Message) error {
	needed, err := actionsOf(m)
	if err != nil {
		return err
	}
	for _, action := range needed {
		if !access.Can(role, action) {
			return fmt.Errorf("%w: a %s cannot %s", errNotAllowed, role, action)
		}
	}
	return nil
}

// actionsOf lists what a message's sender has to be allowed.
func actionsOf(m signaling.Message) ([]access.Action, error) {
	switch m := m.(type) {
	case signaling.Ping, signaling.Leave, signaling.Stats, signaling.LegReady, signaling.Candidate, signaling.MediaState, signaling.View,
		signaling.PublicKey, signaling.SenderKey:
		return nil, nil
	case signaling.Admit:
		return []access.Action{access.AdmitOthers}, nil
	case signaling.Remove:
		return []access.Action{access.RemoveOthers}, nil
	case signaling.MuteRequest:
		return []access.Action{access.MuteOthers}, nil
	case signaling.Lock:
		return []access.Action{access.LockEncounter}, nil
	case signaling.End:
		return []access.Action{access.EndEncounter}, nil
	case signaling.RestartICE:
		return []access.Action{access.Subscribe}, nil
	case signaling.Answer:
		if m.PC != signaling.Subscribe {
			return nil, fmt.Errorf("%w: a client answers on %s", errDirection, signaling.Subscribe)
		}
		return []access.Action{access.Subscribe}, nil
	case signaling.Offer:
		if m.PC != signaling.Publish {
			return nil, fmt.Errorf("%w: a client offers on %s", errDirection, signaling.Publish)
		}
		// An offer may name no tracks yet, but who can never publish has nothing to offer: every role that can sends audio.
		needed := []access.Action{access.PublishAudio}
		for _, track := range m.Tracks {
			needed = append(needed, publishing(track.Source))
		}
		return needed, nil
	default:
		return nil, fmt.Errorf("%w: %s", errDirection, m.Type())
	}
}

// claimed is a media state without what its sender's role can never send, whatever their page believes.
func claimed(role access.Role, m signaling.MediaState) signaling.MediaState {
	m.Audio = m.Audio && access.Can(role, access.PublishAudio)
	m.Video = m.Video && access.Can(role, access.PublishVideo)
	m.Screen = m.Screen && access.Can(role, access.PublishScreen)
	return m
}

// mayStillAct checks a provider's standing in the very record that their action is about to change: somebody
// removed or replaced a moment ago must not get a last word in.
func mayStillAct(e *encounter.Encounter, participant, session string) error {
	p := e.Participants[participant]
	if p.State == encounter.Removed {
		return encounter.ErrRemoved
	}
	if _, ok := p.Sessions[session]; !ok || p.State != encounter.Admitted {
		return fmt.Errorf("%w: the session is not in the encounter", errNotAllowed)
	}
	return nil
}
