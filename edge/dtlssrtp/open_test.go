package dtlssrtp

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// between makes the session of one side with made-up keys, and pion's two contexts of the other side; reference opens as the
// session does.
func between(t require.TestingT, hidden bool) (session *Session, in, out, reference *srtp.Context) {
	keys := func(of byte) ([]byte, []byte) { return bytes.Repeat([]byte{of}, 16), bytes.Repeat([]byte{of + 1}, 12) }
	config := srtp.Config{Profile: srtp.ProtectionProfileAeadAes128Gcm}
	config.Keys.LocalMasterKey, config.Keys.LocalMasterSalt = keys(1)
	config.Keys.RemoteMasterKey, config.Keys.RemoteMasterSalt = keys(3)
	session, err := newSession(config, hidden)
	require.NoError(t, err)
	mode := srtp.CryptexModeDisabled
	if hidden {
		mode = srtp.CryptexModeRequired
	}
	contexts := make([]*srtp.Context, 3)
	for i, of := range []byte{1, 3, 3} {
		options := []srtp.ContextOption{srtp.Cryptex(mode)}
		if i == 2 {
			options = []srtp.ContextOption{
				srtp.SRTPReplayProtection(replayWindow), srtp.SRTCPReplayProtection(replayWindow), srtp.Cryptex(srtp.CryptexModeEnabled),
			}
		}
		key, salt := keys(of)
		contexts[i], err = srtp.CreateContext(key, salt, config.Profile, options...)
		require.NoError(t, err)
	}
	return session, contexts[0], contexts[1], contexts[2]
}

func media(t require.TestingT, ssrc uint32, sequence uint16, extended bool, payload []byte) []byte {
	header := rtp.Header{Version: 2, SSRC: ssrc, SequenceNumber: sequence}
	if extended {
		require.NoError(t, header.SetExtension(3, []byte{1, 2, 3}))
	}
	raw, err := (&rtp.Packet{Header: header, Payload: payload}).Marshal()
	require.NoError(t, err)
	return raw
}

// TestWhatIsOpenedIsWhatPionOpens plays what networks and strangers do to packets: they come late, in another order, twice and forged.
func TestWhatIsOpenedIsWhatPionOpens(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hidden := rapid.Bool().Draw(t, "hidden")
		session, _, out, reference := between(t, hidden)
		var sealed [][]byte
		sequences := map[uint32]uint16{}
		for _, ssrc := range []uint32{7, 8} { // pion opens no stream whose first packets are lost before the numbers go around
			sequences[ssrc] = rapid.Uint16().Draw(t, "first")
			packet, err := out.EncryptRTP(nil, media(t, ssrc, sequences[ssrc], false, nil), nil)
			require.NoError(t, err)
			same(t, session, reference, packet)
		}
		for range rapid.IntRange(1, 300).Draw(t, "packets") {
			ssrc := rapid.SampledFrom([]uint32{7, 7, 7, 8}).Draw(t, "ssrc")
			if rapid.IntRange(0, 9).Draw(t, "control") == 0 {
				packet, err := out.EncryptRTCP(nil, control(t, ssrc), nil)
				require.NoError(t, err)
				sealed = append(sealed, packet)
			} else {
				step := rapid.SampledFrom([]int{1, 1, 1, 1, 2, -3, 60, 1000, 1100, 20_000, -40}).Draw(t, "step")
				sequences[ssrc] += uint16(step)
				size := rapid.IntRange(0, 40).Draw(t, "size")
				raw := media(t, ssrc, sequences[ssrc], rapid.Bool().Draw(t, "extended"), make([]byte, size))
				packet, err := out.EncryptRTP(nil, raw, nil)
				require.NoError(t, err)
				sealed = append(sealed, packet)
			}
			back := min(rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2, 5, 70}).Draw(t, "back"), len(sealed)-1)
			packet := bytes.Clone(sealed[len(sealed)-1-back])
			if rapid.IntRange(0, 9).Draw(t, "forge") == 0 {
				packet[rapid.IntRange(0, len(packet)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
			}
			same(t, session, reference, packet)
		}
	})
}

// TestAStreamMayLoseTheEndOfItsFirstRound is about a sender that begins just below the highest number, and loses what it sends first.
func TestAStreamMayLoseTheEndOfItsFirstRound(t *testing.T) {
	for name, inPlace := range map[string]bool{"in place": true, "elsewhere": false} {
		t.Run(name, func(t *testing.T) {
			session, _, out, _ := between(t, false)
			var sealed [][]byte
			for sequence := uint16(65_530); sequence != 10; sequence++ {
				packet, err := out.EncryptRTP(nil, media(t, 7, sequence, true, []byte{byte(sequence)}), nil)
				require.NoError(t, err)
				sealed = append(sealed, packet)
			}
			report, err := out.EncryptRTCP(nil, control(t, 7), nil)
			require.NoError(t, err)
			_, err = session.OpenRTCP(nil, report)
			require.NoError(t, err, "it comes before media")
			forged := bytes.Clone(sealed[8])
			forged[len(forged)-1] ^= 1
			_, err = session.OpenRTP(forged, forged)
			require.ErrorIs(t, err, errForged)
			for _, i := range []int{8, 9, 5, 15} {
				var room []byte
				if inPlace {
					room = sealed[i]
				}
				opened, err := session.OpenRTP(room, sealed[i])
				require.NoError(t, err, i)
				sequence := uint16(65_530 + i)
				require.Equal(t, media(t, 7, sequence, true, []byte{byte(sequence)}), opened)
			}
		})
	}
}

func control(t require.TestingT, ssrc uint32) []byte {
	raw, err := (&rtcp.PictureLossIndication{SenderSSRC: ssrc, MediaSSRC: 9}).Marshal()
	require.NoError(t, err)
	return raw
}

// same opens a packet here and by pion.
func same(t require.TestingT, session *Session, reference *srtp.Context, packet []byte) {
	theirs, ours := bytes.Clone(packet), packet
	var expected, opened []byte
	var failed, err error
	if IsControl(packet) {
		expected, failed = reference.DecryptRTCP(theirs, theirs, nil)
		opened, err = session.OpenRTCP(ours, ours)
	} else {
		expected, failed = reference.DecryptRTP(theirs, theirs, nil)
		opened, err = session.OpenRTP(ours, ours)
	}
	require.Equal(t, failed == nil, err == nil, "pion: %v, here: %v", failed, err)
	if err == nil {
		require.Equal(t, expected, opened)
	}
}

// FuzzOpen is for what anybody may send to a port: nothing of it is genuine.
func FuzzOpen(f *testing.F) {
	_, _, out, _ := between(f, true)
	sealed, err := out.EncryptRTP(nil, media(f, 7, 1, true, []byte("words")), nil)
	require.NoError(f, err)
	f.Add(sealed)
	f.Add(sealed[:20])
	hidden, err := out.EncryptRTCP(nil, control(f, 7), nil)
	require.NoError(f, err)
	f.Add(hidden)
	f.Add([]byte{0x9f, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xc0, 0xde, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, packet []byte) {
		session, _, _, _ := between(t, false)
		if bytes.Equal(packet, sealed) || bytes.Equal(packet, hidden) {
			return
		}
		kept := bytes.Clone(packet)
		_, err := session.OpenRTP(make([]byte, 0, 2000), packet)
		require.Error(t, err)
		_, err = session.OpenRTCP(make([]byte, 0, 2000), packet)
		require.Error(t, err)
		require.Equal(t, kept, packet)
	})
}

func TestControlInTheClearIsRefused(t *testing.T) {
	session, _, _, _ := between(t, false)
	plain, err := srtp.CreateContext(bytes.Repeat([]byte{3}, 16), bytes.Repeat([]byte{4}, 12),
		srtp.ProtectionProfileAeadAes128Gcm, srtp.SRTCPNoEncryption())
	require.NoError(t, err)
	packet, err := plain.EncryptRTCP(nil, control(t, 7), nil)
	require.NoError(t, err)
	_, err = session.OpenRTCP(packet, packet)
	require.Error(t, err)
}

func TestNoIndexOfControlIsUsedTwice(t *testing.T) {
	session, _, _, _ := between(t, false)
	sealer, ok := session.out.(*gcmSealer)
	require.True(t, ok)
	sealer.stream(7).control = encrypted - 1
	_, err := session.SealRTCP(control(t, 7))
	require.NoError(t, err, "the last one")
	_, err = session.SealRTCP(control(t, 7))
	require.ErrorIs(t, err, errSpent)
}

func TestAHandshakeForgetsItsSecret(t *testing.T) {
	master := bytes.Repeat([]byte{1}, 48)
	h := Handshake{
		profile: srtp.ProtectionProfileAeadAes128Gcm, hash: sha256.New, serverRandom: make([]byte, 32), clientRandom: make([]byte, 32),
		master: master,
	}
	_, err := h.Session(false)
	require.NoError(t, err)
	require.Equal(t, make([]byte, 48), master)
	_, err = h.Session(false)
	require.ErrorIs(t, err, ErrIncomplete)
}

func TestStreamsAreBounded(t *testing.T) {
	session, _, out, _ := between(t, false)
	var first []byte
	for ssrc := range uint32(maxStreams + 1) {
		sealed, err := out.EncryptRTP(nil, media(t, ssrc+1, 1, false, nil), nil)
		require.NoError(t, err)
		if first == nil {
			first = bytes.Clone(sealed)
		}
		_, err = session.OpenRTP(sealed, sealed)
		require.Equal(t, ssrc < maxStreams, err == nil)
	}
	_, err := session.OpenRTP(first, first)
	require.ErrorIs(t, err, errReplayed, "what is known stays so")
}

func TestNothingIsAllocated(t *testing.T) {
	session, in, out, _ := between(t, false)
	var packets, controls [][]byte
	for sequence := range uint16(300) {
		packet, err := out.EncryptRTP(nil, media(t, 7, sequence, true, make([]byte, 1000)), nil)
		require.NoError(t, err)
		report, err := out.EncryptRTCP(nil, control(t, 7), nil)
		require.NoError(t, err)
		packets, controls = append(packets, packet), append(controls, report)
	}
	next := 0
	require.Zero(t, testing.AllocsPerRun(200, func() {
		_, failed := session.OpenRTP(packets[next], packets[next])
		_, err := session.OpenRTCP(controls[next], controls[next])
		if failed != nil || err != nil {
			panic("not opened")
		}
		_, err = session.OpenRTCP(controls[next], controls[next])
		if err == nil {
			panic("came before")
		}
		next++
	}))
	room := append(make([]byte, 0, 100), control(t, 7)...)
	var sealed []byte
	require.Zero(t, testing.AllocsPerRun(100, func() { sealed, _ = session.SealRTCP(room[:12]) }))
	opened, err := in.DecryptRTCP(nil, sealed, nil)
	require.NoError(t, err)
	require.Len(t, opened, 12)
}
