package dtlssrtp

import (
	"fmt"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// replayWindow is how many packets one may come late (RFC 3711, section 3.3.2): more than a sender sends again.
// openerWindow is the smallest there is, for who asks for nothing again.
const replayWindow, openerWindow = 1024, 64

// Opener is the incoming direction of an SRTP session.
type Opener struct {
	in     *srtp.Context
	header rtp.Header
}

func newOpener(config srtp.Config, window uint) (*Opener, error) {
	in, err := srtp.CreateContext(config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt, config.Profile,
		srtp.SRTPReplayProtection(window), srtp.SRTCPReplayProtection(window), srtp.Cryptex(srtp.CryptexModeEnabled))
	if err != nil {
		return nil, fmt.Errorf("SRTP: %w", err)
	}
	return &Opener{in: in}, nil
}

// Session is both directions of an SRTP session. Opening and sealing can go on at the same time; of each, one at a time.
type Session struct {
	*Opener

	sealing sync.Mutex
	out     *srtp.Context
	gcm     *gcm // seals RTP instead of out; nil for profiles without AES-GCM
}

func newSession(config srtp.Config, hidden bool) (*Session, error) {
	mode := srtp.CryptexModeDisabled
	if hidden {
		mode = srtp.CryptexModeEnabled
	}
	in, err := newOpener(config, replayWindow)
	if err != nil {
		return nil, err
	}
	out, err := srtp.CreateContext(config.Keys.LocalMasterKey, config.Keys.LocalMasterSalt, config.Profile, srtp.Cryptex(mode))
	if err != nil {
		return nil, fmt.Errorf("SRTP: %w", err)
	}
	gcm, err := newGCM(config, hidden)
	if err != nil {
		return nil, err
	}
	return &Session{Opener: in, out: out, gcm: gcm}, nil
}

// OpenRTP decrypts an SRTP packet into the room that into has, which may be the packet's own. It fails for one that is not
// genuine or came before; such a packet stays as it is only if the room was another. One goroutine opens.
func (o *Opener) OpenRTP(into, packet []byte) ([]byte, error) {
	o.header = rtp.Header{CSRC: o.header.CSRC[:0], Extensions: o.header.Extensions[:0]} // their room is used again
	return o.in.DecryptRTP(into, packet, &o.header)
}

// OpenRTCP decrypts an SRTCP packet, as OpenRTP does.
func (o *Opener) OpenRTCP(into, packet []byte) ([]byte, error) {
	var header rtcp.Header
	return o.in.DecryptRTCP(into, packet, &header)
}

// SealRTP encrypts an RTP packet without contributing sources, in place if there is room behind it. Two different packets of
// one SSRC must never have one index: with AES-GCM that would reveal key material.
func (s *Session) SealRTP(packet []byte) ([]byte, error) {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	if s.gcm != nil {
		return s.gcm.seal(packet)
	}
	return s.out.EncryptRTP(packet, packet, nil)
}

// SealRTCP encrypts an RTCP packet, as SealRTP does.
func (s *Session) SealRTCP(packet []byte) ([]byte, error) {
	s.sealing.Lock()
	defer s.sealing.Unlock()
	return s.out.EncryptRTCP(nil, packet, nil)
}
