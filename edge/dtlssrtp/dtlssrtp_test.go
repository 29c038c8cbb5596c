package dtlssrtp_test

import (
	"bytes"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/dtls/v3/pkg/crypto/selfsign"
	"github.com/pion/dtls/v3/pkg/protocol"
	"github.com/pion/dtls/v3/pkg/protocol/extension"
	"github.com/pion/dtls/v3/pkg/protocol/handshake"
	"github.com/pion/dtls/v3/pkg/protocol/recordlayer"
	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/dtlssrtp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// passing is a socket whose datagrams a handshake sees.
type passing struct {
	net.PacketConn
	seen *dtlssrtp.Handshake
}

func (p passing) ReadFrom(into []byte) (int, net.Addr, error) {
	n, from, err := p.PacketConn.ReadFrom(into)
	p.seen.Pass(into[:n], true)
	return n, from, err
}

func (p passing) WriteTo(datagram []byte, to net.Addr) (int, error) {
	p.seen.Pass(datagram, false)
	return p.PacketConn.WriteTo(datagram, to)
}

// TestWhoSeesAHandshakePassHasItsKeys is about the client and the server, without a hook in either.
func TestWhoSeesAHandshakePassHasItsKeys(t *testing.T) {
	for _, suite := range []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	} {
		t.Run(suite.String(), func(t *testing.T) {
			var byServer, byClient dtlssrtp.Handshake
			here, there := passing{socket(t), &byServer}, passing{socket(t), &byClient}
			connect(t, here, there, suite, dtls.SRTP_AEAD_AES_128_GCM,
				[]dtls.ServerOption{dtls.WithKeyLogWriter(&byServer)}, []dtls.ClientOption{dtls.WithKeyLogWriter(&byClient)})

			sealing, err := byServer.Session(false)
			require.NoError(t, err)
			opener, err := byClient.Opener()
			require.NoError(t, err)
			_, err = byClient.Opener()
			require.ErrorIs(t, err, dtlssrtp.ErrIncomplete, "keys are made once")
			plain, err := (&rtp.Packet{Header: rtp.Header{Version: 2, SSRC: 7}, Payload: []byte("words")}).Marshal()
			require.NoError(t, err)
			sealed, err := sealing.SealRTP(bytes.Clone(plain))
			require.NoError(t, err)
			kept, forged := bytes.Clone(sealed), bytes.Clone(sealed)
			forged[len(forged)-1] ^= 1
			_, err = opener.OpenRTP(make([]byte, 1500), forged)
			require.Error(t, err)
			opened, err := opener.OpenRTP(make([]byte, 1500), sealed)
			require.NoError(t, err)
			require.Equal(t, plain, opened)
			require.Equal(t, kept, sealed, "opened elsewhere it stays as it is")
		})
	}
}

// FuzzPass is for what anybody may send to a port: it must make no keys, and no trouble.
func FuzzPass(f *testing.F) {
	suite := uint16(dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256)
	use := &extension.UseSRTP{ProtectionProfiles: []dtls.SRTPProtectionProfile{dtls.SRTP_AEAD_AES_128_GCM}}
	record := &recordlayer.RecordLayer{
		Header: recordlayer.Header{Version: protocol.Version1_2},
		Content: &handshake.Handshake{Message: &handshake.MessageServerHello{
			Version: protocol.Version1_2, CipherSuiteID: &suite, CompressionMethod: &protocol.CompressionMethod{},
			Extensions: []extension.Extension{use},
		}},
	}
	hello, err := record.Marshal()
	require.NoError(f, err)
	f.Add(hello)
	f.Add(append(bytes.Clone(hello), hello...))
	f.Add(hello[:30])
	f.Add([]byte{22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2})
	f.Fuzz(func(t *testing.T, datagram []byte) {
		var h dtlssrtp.Handshake
		h.Pass(datagram, true)
		_, err := h.Opener()
		require.ErrorIs(t, err, dtlssrtp.ErrIncomplete)
	})
}

// connect runs a real handshake, and returns the client's side of it.
func connect(
	t *testing.T, here, there net.PacketConn, suite dtls.CipherSuiteID, profile dtls.SRTPProtectionProfile,
	server []dtls.ServerOption, client []dtls.ClientOption,
) *dtls.Conn {
	t.Helper()
	certificate, err := selfsign.GenerateSelfSigned()
	require.NoError(t, err)
	for _, each := range []dtls.Option{
		dtls.WithCertificates(certificate), dtls.WithInsecureSkipVerify(true), dtls.WithSRTPProtectionProfiles(profile),
		dtls.WithCipherSuites(suite),
	} {
		server, client = append(server, each), append(client, each)
	}
	s, err := dtls.ServerWithOptions(here, there.LocalAddr(), server...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	c, err := dtls.ClientWithOptions(there, here.LocalAddr(), client...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	require.NoError(t, c.Handshake())
	require.NoError(t, <-done)
	return c
}

// shake runs a real handshake, and returns our session and the keys that pion exports for the client.
func shake(
	t *testing.T, suite dtls.CipherSuiteID, profile dtls.SRTPProtectionProfile, hidden bool,
) (*dtlssrtp.Session, srtp.Config) {
	t.Helper()
	var shaken dtlssrtp.Handshake
	_, err := shaken.Session(hidden)
	require.ErrorIs(t, err, dtlssrtp.ErrIncomplete)
	c := connect(t, socket(t), socket(t), suite, profile,
		[]dtls.ServerOption{dtls.WithServerHelloMessageHook(shaken.ServerHello), dtls.WithKeyLogWriter(&shaken)}, nil)
	session, err := shaken.Session(hidden)
	require.NoError(t, err)
	_, err = shaken.Session(hidden)
	require.ErrorIs(t, err, dtlssrtp.ErrIncomplete, "keys are made once")
	state, ok := c.ConnectionState()
	require.True(t, ok)
	config := srtp.Config{Profile: srtp.ProtectionProfile(profile)}
	require.NoError(t, config.ExtractSessionKeysFromDTLS(&state, true))
	return session, config
}

func socket(t *testing.T) net.PacketConn {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	require.NoError(t, err)
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestOurKeysArePions(t *testing.T) {
	for _, suite := range []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	} {
		for _, profile := range []dtls.SRTPProtectionProfile{
			dtls.SRTP_AEAD_AES_128_GCM, dtls.SRTP_AEAD_AES_256_GCM, dtls.SRTP_AES128_CM_HMAC_SHA1_80,
		} {
			for _, mode := range []srtp.CryptexMode{srtp.CryptexModeDisabled, srtp.CryptexModeRequired} {
				t.Run(fmt.Sprintf("%s/%d/%d", suite, profile, mode), func(t *testing.T) {
					session, config := shake(t, suite, profile, mode == srtp.CryptexModeRequired)
					keys := config.Keys
					in, err := srtp.CreateContext(keys.RemoteMasterKey, keys.RemoteMasterSalt, config.Profile, srtp.Cryptex(mode))
					require.NoError(t, err)
					out, err := srtp.CreateContext(keys.LocalMasterKey, keys.LocalMasterSalt, config.Profile, srtp.Cryptex(mode))
					require.NoError(t, err)
					exchange(t, session, in, out)
				})
			}
		}
	}
}

// exchange sends packets both ways, over a wrap of their numbers.
func exchange(t *testing.T, session *dtlssrtp.Session, in, out *srtp.Context) {
	t.Helper()
	for _, sequence := range []uint16{65_533, 65_534, 65_535, 0, 1, 65_532, 2} {
		header := rtp.Header{Version: 2, SequenceNumber: sequence, SSRC: 7}
		require.NoError(t, header.SetExtension(1, []byte{1, 2, 3}))
		plain, err := (&rtp.Packet{Header: header, Payload: bytes.Repeat([]byte{byte(sequence)}, 1000)}).Marshal()
		require.NoError(t, err)

		room := append(make([]byte, 0, 1500), plain...)
		sealed, err := session.SealRTP(room)
		require.NoError(t, err)
		require.Same(t, &room[0], &sealed[0], "in place")
		opened, err := in.DecryptRTP(nil, sealed, nil)
		require.NoError(t, err)
		require.Equal(t, plain, opened)

		sealed, err = out.EncryptRTP(nil, plain, nil)
		require.NoError(t, err)
		again, forged := bytes.Clone(sealed), bytes.Clone(sealed)
		forged[len(forged)-1] ^= 1
		_, err = session.OpenRTP(forged, forged)
		require.Error(t, err)
		opened, err = session.OpenRTP(sealed, sealed)
		require.NoError(t, err)
		require.Equal(t, plain, opened)
		_, err = session.OpenRTP(again, again)
		require.Error(t, err, "a second time")
	}
	control, err := (&rtcp.PictureLossIndication{SenderSSRC: 1, MediaSSRC: 2}).Marshal()
	require.NoError(t, err)
	sealed, err := session.SealRTCP(control)
	require.NoError(t, err)
	opened, err := in.DecryptRTCP(nil, sealed, nil)
	require.NoError(t, err)
	require.Equal(t, control, opened)
	sealed, err = out.EncryptRTCP(nil, control, nil)
	require.NoError(t, err)
	again := bytes.Clone(sealed)
	opened, err = session.OpenRTCP(sealed, sealed)
	require.NoError(t, err)
	require.Equal(t, control, opened)
	_, err = session.OpenRTCP(again, again)
	require.Error(t, err)
	for _, short := range [][]byte{nil, {0x80}, make([]byte, 12)} {
		_, err = session.OpenRTP(short, short)
		require.Error(t, err)
		_, err = session.OpenRTCP(short, short)
		require.Error(t, err)
	}
}

func TestAKeyLogThatMakesNoSense(t *testing.T) {
	var h dtlssrtp.Handshake
	for line, fails := range map[string]bool{
		"": false, "CLIENT_RANDOM": false, "SERVER_SECRET 00 11": false, "CLIENT_RANDOM zz 00": true, "CLIENT_RANDOM 00 0": true,
	} {
		_, err := h.Write([]byte(line))
		require.Equal(t, fails, err != nil, line)
	}
	h.ServerHello(handshake.MessageServerHello{})
	_, err := h.Write([]byte("CLIENT_RANDOM 00 11"))
	require.NoError(t, err)
	_, err = h.Session(false)
	require.ErrorIs(t, err, dtlssrtp.ErrIncomplete, "without SRTP")
}

func TestWhatIsNoPacketIsNotSealed(t *testing.T) {
	session, config := shake(t, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.SRTP_AEAD_AES_128_GCM, true)
	header := append([]byte{0x80, 96, 0, 1}, make([]byte, 8)...)
	with := func(first byte, rest ...byte) []byte { return append(append([]byte{first}, header[1:]...), rest...) }
	for name, packet := range map[string][]byte{
		"empty": {}, "half a header": header[:11], "a contributing source": with(0x81, 1, 2, 3, 4),
		"no extensions": with(0x90), "half of them": with(0x90, 0xbe, 0xde, 0, 1, 0x10),
	} {
		_, err := session.SealRTP(packet)
		require.Error(t, err, name)
	}
	in, err := srtp.CreateContext(config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt, config.Profile,
		srtp.Cryptex(srtp.CryptexModeEnabled))
	require.NoError(t, err)
	for name, packet := range map[string][]byte{
		"without room or payload": with(0x80), "two-byte extensions": with(0x90, 0x10, 0, 0, 1, 1, 1, 5, 0, 'x'),
	} {
		sealed, err := session.SealRTP(bytes.Clone(packet)[:len(packet):len(packet)])
		require.NoError(t, err, name)
		opened, err := in.DecryptRTP(nil, sealed, nil)
		require.NoError(t, err, name)
		require.Equal(t, packet, opened, name)
		packet[3]++
	}
}
