package dtlssrtp

import (
	"fmt"
	"sync"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// replayWindow is how many packets one may come late (RFC 3711, section 3.3.2): more than a sender sends again.
const replayWindow = 1024

// Session is both directions of an SRTP session. Opening and sealing can go on at the same time; of each, one at a time.
type Session struct {
	in     *srtp.Context
	header rtp.Header

	sealing sync.Mutex
	out     *srtp.Context
	gcm     *gcm // seals RTP instead of out; nil for profiles without AES-GCM
}

func newSession(config srtp.Config, hidden bool) (*Session, error) {
	mode := srtp.CryptexModeDisabled
	if hidden {
		mode = srtp.CryptexModeEnabled
	}
	in, err := srtp.CreateContext(config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt, config.Profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow), srtp.Cryptex(srtp.CryptexModeEnabled))
	if err != nil {
		return nil, fmt.Errorf("SRTP: %w", err)
	}
	out, err := srtp.CreateContext(config.Keys.LocalMasterKey, config.Keys.LocalMasterSalt, config.Profile, srtp.Cryptex(mode))
	if err != nil {
		return nil, fmt.Errorf("SRTP: %w", err)
	}
	gcm, err := newGCM(config, hidden)
	if err != nil {
		return nil, err
	}
	return &Session{in: in, out: out, gcm: gcm}, nil
}

// OpenRTP decrypts an SRTP packet where it is. It fails for one that is not genuine or came before. One goroutine opens.
func (s *Session) OpenRTP(packet []byte) ([]byte, error) {
	s.header = rtp.Header{CSRC: s.header.CSRC[:0], Extensions: s.header.Extensions[:0]} // their room is used again
	return s.in.DecryptRTP(packet, packet, &s.header)
}

// OpenRTCP decrypts an SRTCP packet where it is, as OpenRTP does.
func (s *Session) OpenRTCP(packet []byte) ([]byte, error) {
	var header rtcp.Header
	return s.in.DecryptRTCP(packet, packet, &header)
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
