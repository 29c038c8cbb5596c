package dtlssrtp

import (
	"fmt"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
)

// pion is one direction of a session with another profile than AES-GCM, which browsers agree on with nobody who offers that.
type pion struct {
	context *srtp.Context
	header  rtp.Header
}

func newPion(masterKey, masterSalt []byte, profile srtp.ProtectionProfile, hidden bool) (*pion, error) {
	mode := srtp.CryptexModeDisabled
	if hidden {
		mode = srtp.CryptexModeEnabled
	}
	context, err := srtp.CreateContext(masterKey, masterSalt, profile,
		srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow), srtp.Cryptex(mode))
	if err != nil {
		return nil, fmt.Errorf("SRTP: %w", err)
	}
	return &pion{context: context}, nil
}

func (p *pion) openRTP(into, packet []byte) ([]byte, error) {
	p.header = rtp.Header{CSRC: p.header.CSRC[:0], Extensions: p.header.Extensions[:0]} // their room is used again
	return p.context.DecryptRTP(into, packet, &p.header)
}

func (p *pion) openRTCP(into, packet []byte) ([]byte, error) {
	var header rtcp.Header
	return p.context.DecryptRTCP(into, packet, &header)
}

func (p *pion) sealRTP(packet []byte) ([]byte, error) {
	return p.context.EncryptRTP(packet, packet, nil)
}

func (p *pion) sealRTCP(packet []byte) ([]byte, error) {
	return p.context.EncryptRTCP(nil, packet, nil)
}
