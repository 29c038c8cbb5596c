package dtlssrtp

import (
	"sync"

	"github.com/pion/srtp/v3"
)

// opener and sealer are what a profile does for the two directions of a session. Of each, one goroutine at a time calls one method.
type (
	opener interface {
		openRTP(into, packet []byte) ([]byte, error)
		openRTCP(into, packet []byte) ([]byte, error)
	}
	sealer interface {
		sealRTP(packet []byte) ([]byte, error)
		sealRTCP(packet []byte) ([]byte, error)
	}
)

// Opener is the incoming direction of an SRTP session.
type Opener struct{ in opener }

func newOpener(config srtp.Config) (*Opener, error) {
	keys := config.Keys
	if isGCM(config.Profile) {
		in, err := newGCMOpener(keys.RemoteMasterKey, keys.RemoteMasterSalt)
		return &Opener{in}, err
	}
	in, err := newPion(keys.RemoteMasterKey, keys.RemoteMasterSalt, config.Profile, true)
	return &Opener{in}, err
}

// Session is both directions of an SRTP session. Opening and sealing can go on at the same time; of each, one at a time.
type Session struct {
	*Opener

	sealing sync.Mutex
	out     sealer
}

func newSession(config srtp.Config, hidden bool) (*Session, error) {
	in, err := newOpener(config)
	if err != nil {
		return nil, err
	}
	keys := config.Keys
	if isGCM(config.Profile) {
		out, err := newGCMSealer(keys.LocalMasterKey, keys.LocalMasterSalt, hidden)
		return &Session{Opener: in, out: out}, err
	}
	out, err := newPion(keys.LocalMasterKey, keys.LocalMasterSalt, config.Profile, hidden)
	return &Session{Opener: in, out: out}, err
}

// OpenRTP decrypts an SRTP packet into the room that into has, which may be the packet's own. It fails for one that is not
// genuine or came before; such a packet stays as it is only if the room was another. One goroutine opens.
func (o *Opener) OpenRTP(into, packet []byte) ([]byte, error) { return o.in.openRTP(into, packet) }

// OpenRTCP decrypts an SRTCP packet, as OpenRTP does.
func (o *Opener) OpenRTCP(into, packet []byte) ([]byte, error) { return o.in.openRTCP(into, packet) }

// SealRTP encrypts an RTP packet without contributing sources, in place if there is room behind it. Two different packets of
// one SSRC must never have one index: with AES-GCM that would reveal key material.
func (s *Session) SealRTP(packet []byte) ([]byte, error) {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	return s.out.sealRTP(packet)
}

// SealRTCP encrypts an RTCP packet, as SealRTP does.
func (s *Session) SealRTCP(packet []byte) ([]byte, error) {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	return s.out.sealRTCP(packet)
}
