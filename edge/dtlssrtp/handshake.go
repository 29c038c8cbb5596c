// Package dtlssrtp makes the SRTP session of a connection from the DTLS handshake that pion runs for it (RFC 5764), so
// that media can be opened and sealed where it passes instead of in pion: by the media server, and by who receives in large
// numbers.
package dtlssrtp

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/prf"
	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/pion/srtp/v3"
)

// Handshake follows one DTLS handshake, whichever side this is. Safe for concurrent use.
type Handshake struct {
	mu           sync.Mutex
	client       bool // this side is
	profile      srtp.ProtectionProfile
	hash         func() hash.Hash
	serverRandom []byte
	clientRandom []byte
	master       []byte
}

// ServerHello takes note of the hello that is about to be sent, and returns it unchanged. It is a hook of pion.
func (h *Handshake) ServerHello(hello handshake.MessageServerHello) handshake.Message {
	h.note(hello, false)
	return &hello
}

// Pass takes note of the server's hello if a datagram that passes has it in the clear; received says that it came from the
// other side. pion has no hook for it.
func (h *Handshake) Pass(datagram []byte, received bool) {
	records, err := recordlayer.UnpackDatagram(datagram)
	if err != nil {
		return
	}
	for _, record := range records {
		if hello, ok := serverHello(record); ok {
			h.note(hello, received)
		}
	}
}

// serverHello is the one that a record begins with (RFC 6347, sections 4.1 and 4.2.2), unless that is cut into fragments or
// encrypted.
func serverHello(record []byte) (handshake.MessageServerHello, bool) {
	var outer recordlayer.Header
	if outer.Unmarshal(record) != nil || outer.ContentType != protocol.ContentTypeHandshake || outer.Epoch != 0 {
		return handshake.MessageServerHello{}, false
	}
	content := record[recordlayer.FixedHeaderSize:]
	var header handshake.Header
	if header.Unmarshal(content) != nil || header.Type != handshake.TypeServerHello || header.FragmentLength != header.Length ||
		int(header.Length) > len(content)-handshake.HeaderLength {
		return handshake.MessageServerHello{}, false
	}
	var hello handshake.MessageServerHello
	err := hello.Unmarshal(content[handshake.HeaderLength : handshake.HeaderLength+int(header.Length)])
	return hello, err == nil
}

func (h *Handshake) note(hello handshake.MessageServerHello, received bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.client = received
	random := hello.Random.MarshalFixed()
	h.serverRandom = random[:]
	h.hash = sha256.New
	if id := hello.CipherSuiteID; id != nil && isSHA384(dtls.CipherSuiteID(*id)) {
		h.hash = sha512.New384
	}
	for _, each := range hello.Extensions {
		if use, ok := each.(*extension.UseSRTP); ok && len(use.ProtectionProfiles) > 0 {
			h.profile = srtp.ProtectionProfile(use.ProtectionProfiles[0])
		}
	}
}

func isSHA384(suite dtls.CipherSuiteID) bool {
	return suite == dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 || suite == dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
}

// keyLogLabel begins the line of a key log (draft-ietf-tls-keylogfile) that has the master secret.
const keyLogLabel = "CLIENT_RANDOM"

// Write takes a line of pion's key log, the only place where it gives the master secret away. It is kept until Session.
func (h *Handshake) Write(line []byte) (int, error) {
	fields := bytes.Fields(line)
	if len(fields) != 3 || string(fields[0]) != keyLogLabel {
		return len(line), nil
	}
	random, master := make([]byte, hex.DecodedLen(len(fields[1]))), make([]byte, hex.DecodedLen(len(fields[2])))
	_, badRandom := hex.Decode(random, fields[1])
	_, badMaster := hex.Decode(master, fields[2])
	if err := errors.Join(badRandom, badMaster); err != nil {
		return 0, errors.New("key log: not hexadecimal")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clientRandom, h.master = random, master
	return len(line), nil
}

// ErrIncomplete says that a handshake did not give all that keys are made from: it is not over, nobody saw the server's hello,
// or no SRTP was agreed on.
var ErrIncomplete = errors.New("DTLS handshake without SRTP keys")

// Session makes the SRTP session of a handshake, once, and forgets its secrets. To be called when pion says that the
// handshake is complete: before that nobody has proved who they are.
func (h *Handshake) Session(hidden bool) (*Session, error) {
	config, err := h.keys()
	if err != nil {
		return nil, err
	}
	return newSession(config, hidden)
}

// Opener is Session for who opens beside pion, which seals: two who seal would use one index twice.
func (h *Handshake) Opener() (*Opener, error) {
	config, err := h.keys()
	if err != nil {
		return nil, err
	}
	return newOpener(config)
}

// keys derives those of a handshake.
func (h *Handshake) keys() (srtp.Config, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	defer clear(h.master)
	if h.master == nil || h.serverRandom == nil || h.profile == 0 {
		return srtp.Config{}, ErrIncomplete
	}
	config := srtp.Config{Profile: h.profile}
	if err := config.ExtractSessionKeysFromDTLS(exporter{h}, h.client); err != nil {
		return srtp.Config{}, fmt.Errorf("SRTP keys: %w", err)
	}
	h.master = nil
	return config, nil
}

// exporter derives keys from a handshake (RFC 5705).
type exporter struct{ *Handshake }

// ExportKeyingMaterial implements srtp.KeyingMaterialExporter.
func (e exporter) ExportKeyingMaterial(label string, _ []byte, length int) ([]byte, error) {
	seed := append(append([]byte(label), e.clientRandom...), e.serverRandom...)
	return prf.PHash(e.master, seed, length, e.hash)
}
