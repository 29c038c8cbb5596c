package signaling

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func number(v float64) *float64 { return &v }

var (
	route     = Route{Leg: 2, Epoch: 7}
	visit     = EncounterRef{Tenant: "clinic", Encounter: "visit-1"}
	iceServer = ICEServer{URLs: []string{"turn:relay.example:3478?transport=udp"}, Username: "1700000000:s1", Credential: "c"}
	track     = TrackStats{
		Participant: "p1", Source: Camera, Codec: "video/VP8", BitrateBps: number(1e6), JitterMs: number(1.5), Loss: number(0.01),
		FPS: number(30), Width: 1280, Height: 720, Freezes: number(1), FreezeMs: number(200), FramesDecoded: number(900),
		Concealed: number(0.5),
	}
)

// point is the base point of P-256, a valid public key.
const point = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"

// samples holds one valid message of every type, no member empty.
var samples = []Message{
	Join{Token: "a.b.c", Resume: "s1", RTT: map[string]float64{"eu": 12.5}, Leg: 2},
	Ping{ID: 1},
	Pong{ID: 1},
	Admit{Participant: "p1"},
	Remove{Participant: "p1"},
	MuteRequest{Participant: "p1", Source: Microphone, By: "p2"},
	PublicKey{Key: point},
	SenderKey{Participant: "p1", By: "p2", Data: "AAEC_w"},
	Lock{Locked: true},
	End{},
	Leave{},
	LegReady{Route: route},
	Stats{
		Route: route, ICEState: "connected", Path: "relay-tls", RTTMs: number(20),
		Send: []TrackStats{track}, Receive: []TrackStats{track},
	},
	Welcome{
		Session: "s1", Resumed: true, State: "waiting", PingMs: 5000, ResumeMs: 30000, ICEServers: []ICEServer{iceServer},
		You: Self{
			Participant: "p1", Role: "patient", Name: "Zoë <O'Hara> & \u2028", Encounter: "visit-1", Permissions: []string{"subscribe"},
		},
		Gateways: []Gateway{{ID: "gw-1", Region: "eu", URL: "https://gw-1.example:8443"}}, E2EE: true,
	},
	Gateways{Gateways: []Gateway{{ID: "gw-1", Region: "eu", URL: "https://gw-1.example:8443"}}},
	Roster{Revision: 3, Locked: true, Members: []Member{
		{Participant: "p1", Role: "patient", Name: "n", State: "waiting", Connected: true, Key: point},
	}},
	Placed{Route: route, Region: "eu", SFU: "sfu-1", ICEServers: []ICEServer{iceServer}, Reason: "failover", Abrupt: true},
	Bye{Code: ByeShutdown, Retry: true},
	Error{Code: "invalid", Message: "m", About: "admit"},
	Offer{Route: route, PC: Publish, Negotiation: 1, SDP: "v=0\r\n", Tracks: []Track{{MID: "0", Source: Camera, Participant: "p1"}}},
	Answer{Route: route, PC: Subscribe, Negotiation: 1, SDP: "v=0\r\n"},
	Candidate{Route: route, PC: Publish, Candidate: "candidate:1 1 udp 1 192.0.2.1 1 typ host", MID: "0"},
	MediaState{Route: route, Audio: true, Video: true, Screen: true},
	Peers{Route: route, Peers: []Peer{{Participant: "p1", Audio: true, Video: true, Screen: true}}, Partial: true, Gone: []string{"p2"}},
	Tracks{Route: route, Tracks: []Track{{MID: "0", Source: Camera, Participant: "p1"}}},
	Speaker{Route: route, Participant: "p1"},
	View{Route: route, Tiles: []Tile{{Participant: "p1", Source: Camera, Width: 640, Height: 360, Pinned: true}}},
	Layers{Route: route, Source: Camera, Active: []string{"q"}},
	Codec{Route: route, Source: Camera, Name: "vp8"},
	RestartICE{Route: route, Negotiation: 3},
	Paused{Route: route, Tracks: []Track{{MID: "0", Source: Camera, Participant: "p1"}}},
	Hello{ID: "gw-1", Version: "v1"},
	Heartbeat{Load: 0.25},
	Draining{On: true},
	Reserve{EncounterRef: visit, Epoch: 7},
	Attach{
		Route: route, EncounterRef: visit, Participant: "p1", Kind: WHEPSession, CanPublish: []Source{Microphone, Camera, Screen},
		CanSubscribe: true, Target: "p2", TraceID: "t1",
	},
	Attached{Route: route, Resumed: true},
	Refused{Route: route, EncounterRef: visit, Code: RefusedBusy, Message: "full", About: "reserve"},
	Detach{Route: route},
	Gone{Route: route, EncounterRef: visit, Participant: "p1", Kind: BrowserSession, Reason: "ice-failed"},
	Membership{EncounterRef: visit, Epoch: 7, Revision: 9, Admitted: []string{"p1"}, Waiting: []string{"p2"}, Ended: true},
	Restart{Route: route, PC: Publish, Fragment: "a=ice-ufrag:x\r\n"},
	Restarted{Route: route, PC: Publish, Fragment: "a=ice-ufrag:x\r\n"},
	Revoke{Revocations: []Revocation{{Credential: "visit.p1.s1", Until: 1_700_000_000}}},
	Revoked{Credentials: []string{"visit.p1.s1"}, Ended: 2},
	Allow{Addresses: []string{"192.0.2.1:7200", "[2001:db8::1]:7200"}},
	Allowed{Addresses: []string{"192.0.2.1:7200"}},
}

func TestSamplesCoverTheVocabulary(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range samples {
		seen[m.Type()] = true
		requireNoZero(t, m.Type(), reflect.ValueOf(m))
	}
	for name := range vocabulary {
		require.True(t, seen[name], "no sample of %s", name)
	}
	require.Len(t, samples, len(vocabulary))
}

// requireNoZero demands that a round trip would notice any member that gets lost.
func requireNoZero(t *testing.T, path string, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		member := path + "." + v.Type().Field(i).Name
		require.False(t, v.Field(i).IsZero(), "%s is empty in the sample", member)
		if v.Field(i).Kind() == reflect.Struct {
			requireNoZero(t, member, v.Field(i))
		}
	}
}

func TestEveryMessageComesBackAsItWent(t *testing.T) {
	for _, m := range samples {
		t.Run(m.Type(), func(t *testing.T) {
			data, err := Encode(m)
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(string(data), `{"type":"`+m.Type()+`"`), "%s", data)
			got, err := Decode(data)
			require.NoError(t, err)
			require.Equal(t, m, got)

			frame := Frame{Session: "s1", Message: m}
			data, err = EncodeFrame(frame)
			require.NoError(t, err)
			gotFrame, err := DecodeFrame(data)
			require.NoError(t, err)
			require.Equal(t, frame, gotFrame)
		})
	}
}

func TestWhatIsPassedOnStaysWithinTheLimits(t *testing.T) {
	awkward := Offer{Route: route, PC: Publish, SDP: strings.Repeat("<&>", MaxSDPBytes/3)}
	data, err := EncodeFrame(Frame{Session: "s1", Message: awkward})
	require.NoError(t, err)
	require.Less(t, len(data), MaxSDPBytes+200, "nothing is escaped for HTML")
	frame, err := DecodeFrame(data)
	require.NoError(t, err)
	require.Equal(t, awkward, frame.Message)

	grown := Peers{Route: route, Peers: slices.Repeat([]Peer{{Participant: "p"}}, MaxMessageBytes/20)}
	_, err = Encode(grown)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = EncodeFrame(Frame{Message: grown})
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestMediaMessagesNameTheirLegAndEpoch(t *testing.T) {
	for _, m := range []Message{
		Offer{},
		Answer{},
		Candidate{},
		RestartICE{},
		MediaState{},
		Peers{},
		Tracks{},
		Speaker{},
		Paused{},
		View{},
		Layers{},
		Codec{},
	} {
		media, ok := samples[slices.IndexFunc(samples, func(s Message) bool { return s.Type() == m.Type() })].(MediaMessage)
		require.True(t, ok, m.Type())
		require.Equal(t, route, media.On())
		require.ErrorContains(t, m.Validate(), "leg", "%s without a leg", m.Type())
	}
}

func TestUnknownMembersAreIgnored(t *testing.T) {
	m, err := Decode([]byte(` {"future":{"a":[1]},"type":"ping","id":4} `))
	require.NoError(t, err)
	require.Equal(t, Ping{ID: 4}, m)
}

func TestMalformedMessages(t *testing.T) {
	for data, want := range map[string]error{
		``: ErrMalformed, `{`: ErrMalformed, `[]`: ErrMalformed, `"ping"`: ErrMalformed, `{"type":7}`: ErrMalformed,
		`{"type":"ping"}{"type":"end"}`: ErrMalformed, "\xff\xfe": ErrMalformed,
		`{"type":"ping","id":"one"}`: ErrMalformed, `{"type":"ping","id":-1}`: ErrMalformed,
		`{"type":"ping","id":4294967296}`:                ErrMalformed,
		`{"type":"join","token":"t","rtt":{"eu":1e999}}`: ErrMalformed,
		strings.Repeat("[", 100_000):                     ErrMalformed,
		`null`:                                           ErrUnknownType, `{}`: ErrUnknownType,
		`{"type":"` + strings.Repeat("x", 1000) + `"}`: ErrUnknownType,
		strings.Repeat(" ", MaxMessageBytes) + `{}`:    ErrTooLarge,
	} {
		_, err := Decode([]byte(data))
		require.ErrorIs(t, err, want, "%.60q", data)
		require.Less(t, len(err.Error()), 200, "an error does not repeat what was sent")
	}
}

func TestLimits(t *testing.T) {
	long := func(n int) string { return strings.Repeat("x", n) }
	manyRegions := make(map[string]float64)
	for i := range 65 {
		manyRegions["r"+long(i)[:i%60]+string(rune('0'+i%10))+string(rune('a'+i%26))] = 1
	}
	tracks := func(n int) []Track { return slices.Repeat([]Track{{MID: "0", Source: Camera}}, n) }
	tiles := func(n, width int) []Tile {
		return slices.Repeat([]Tile{{Participant: "p", Source: Camera, Width: width}}, n)
	}
	trackStats := func(n int) []TrackStats { return slices.Repeat([]TrackStats{{Source: Camera}}, n) }
	for _, c := range []struct {
		name string
		m    Message
		ok   bool
	}{
		{"longest id", Admit{long(64)}, true},
		{"id too long", Admit{long(65)}, false},
		{"empty id", Remove{}, false},
		{"id that escapes a path", Admit{"../x"}, false},
		{"id with a line break", Admit{"p1\n"}, false},
		{"mute of nobody", MuteRequest{Source: Camera}, false},
		{"mute of an unknown source", MuteRequest{Participant: "p1", Source: "keyboard"}, false},
		{"public key of nothing", PublicKey{}, false},
		{"public key that is no point", PublicKey{Key: point[:len(point)-1] + "A"}, false},
		{"public key with padding", PublicKey{Key: point + "="}, false},
		{"public key at infinity", PublicKey{Key: "AA"}, false},
		{"sender key for nobody", SenderKey{Data: "AA"}, false},
		{"sender key from nonsense", SenderKey{Participant: "p", By: "/", Data: "AA"}, false},
		{"sender key of nothing", SenderKey{Participant: "p"}, false},
		{"longest sender key", SenderKey{Participant: "p", Data: strings.Repeat("A", MaxSealedBytes/3*4)}, true},
		{"sender key too long", SenderKey{Participant: "p", Data: strings.Repeat("A", MaxSealedBytes/3*4+2)}, false},
		{"sender key that is no base64url", SenderKey{Participant: "p", Data: "A+/="}, false},
		{"token missing", Join{}, false},
		{"longest token", Join{Token: long(8 << 10)}, true},
		{"token too long", Join{Token: long(8<<10 + 1)}, false},
		{"resume of nonsense", Join{Token: "t", Resume: "a b"}, false},
		{"rtt of no region", Join{Token: "t", RTT: map[string]float64{"": 1}}, false},
		{"negative rtt", Join{Token: "t", RTT: map[string]float64{"eu": -0.1}}, false},
		{"longest rtt", Join{Token: "t", RTT: map[string]float64{"eu": 60_000}}, true},
		{"a leg no visit gets to", Join{Token: "t", Leg: 1<<20 + 1}, false},
		{"rtt over a minute", Join{Token: "t", RTT: map[string]float64{"eu": 60_001}}, false},
		{"rtt to too many regions", Join{Token: "t", RTT: manyRegions}, len(manyRegions) <= 64},
		{"no gateways", Gateways{}, true},
		{"as many gateways as there can be", Gateways{slices.Repeat([]Gateway{{"g", "eu", "https://g"}}, MaxGateways)}, true},
		{"too many gateways", Gateways{slices.Repeat([]Gateway{{"g", "eu", "https://g"}}, MaxGateways+1)}, false},
		{"too many gateways to begin with", Welcome{Gateways: slices.Repeat([]Gateway{{"g", "eu", "https://g"}}, MaxGateways+1)}, false},
		{"gateway without a name", Gateways{[]Gateway{{"", "eu", "https://g"}}}, false},
		{"gateway of no region", Gateways{[]Gateway{{"g", "", "https://g"}}}, false},
		{"gateway with a path", Gateways{[]Gateway{{"g", "eu", "https://g/visit"}}}, false},
		{"gateway of another scheme", Gateways{[]Gateway{{"g", "eu", "javascript:alert(1)"}}}, false},
		{"longest description", Offer{Route: route, PC: Publish, SDP: long(MaxSDPBytes)}, true},
		{"description too long", Offer{Route: route, PC: Publish, SDP: long(MaxSDPBytes + 1)}, false},
		{"empty description", Answer{Route: route, PC: Publish}, false},
		{"answer too long", Answer{Route: route, PC: Publish, SDP: long(MaxSDPBytes + 1)}, false},
		{"unknown peer connection", Answer{Route: route, PC: "both", SDP: "v=0"}, false},
		{"most tracks", Offer{Route: route, PC: Publish, SDP: "v=0", Tracks: tracks(MaxTracks)}, true},
		{"too many tracks", Offer{Route: route, PC: Publish, SDP: "v=0", Tracks: tracks(MaxTracks + 1)}, false},
		{"track without source", Offer{Route: route, PC: Publish, SDP: "v=0", Tracks: []Track{{MID: "0"}}}, false},
		{"track of nonsense", Offer{Route: route, PC: Publish, SDP: "v=0", Tracks: []Track{{Source: Camera, Participant: "/"}}}, false},
		{"mid too long", Offer{Route: route, PC: Publish, SDP: "v=0", Tracks: []Track{{MID: long(17), Source: Camera}}}, false},
		{"end of candidates", Candidate{Route: route, PC: Publish}, true},
		{"longest candidate", Candidate{Route: route, PC: Publish, Candidate: long(MaxCandidateBytes)}, true},
		{"candidate too long", Candidate{Route: route, PC: Publish, Candidate: long(MaxCandidateBytes + 1)}, false},
		{"candidate of a long mid", Candidate{Route: route, PC: Publish, MID: long(17)}, false},
		{"candidate of no peer connection", Candidate{Route: route}, false},
		{"peer of nonsense", Peers{Route: route, Peers: []Peer{{}}}, false},
		{"nonsense is gone", Peers{Route: route, Partial: true, Gone: []string{"p1", ""}}, false},
		{"nothing is carried", Tracks{Route: route}, true},
		{"too much is carried", Tracks{Route: route, Tracks: tracks(MaxTracks + 1)}, false},
		{"nobody speaks", Speaker{Route: route}, true},
		{"nonsense speaks", Speaker{Route: route, Participant: "?"}, false},
		{"nothing is shown", View{Route: route}, true},
		{"most is shown", View{Route: route, Tiles: tiles(MaxTracks, 1)}, true},
		{"too much is shown", View{Route: route, Tiles: tiles(MaxTracks+1, 1)}, false},
		{"largest tile", View{Route: route, Tiles: tiles(1, MaxTilePixels)}, true},
		{"tile too large", View{Route: route, Tiles: tiles(1, MaxTilePixels+1)}, false},
		{"tile of less than nothing", View{Route: route, Tiles: tiles(1, -1)}, false},
		{"tile of nobody", View{Route: route, Tiles: []Tile{{Source: Camera}}}, false},
		{"tile of an unknown source", View{Route: route, Tiles: []Tile{{Participant: "p"}}}, false},
		{"no layer is wanted", Layers{Route: route, Source: Camera}, true},
		{"layers of nothing", Layers{Route: route}, false},
		{"a layer with a long name", Layers{Route: route, Source: Camera, Active: []string{long(17)}}, false},
		{"too many layers", Layers{Route: route, Source: Camera, Active: slices.Repeat([]string{"q"}, 9)}, false},
		{"any codec is good", Codec{Route: route, Source: Camera}, true},
		{"the codec of nothing", Codec{Route: route, Name: "vp8"}, false},
		{"a codec with a long name", Codec{Route: route, Source: Camera, Name: long(17)}, false},
		{"nothing is paused", Paused{Route: route}, true},
		{"too much is paused", Paused{Route: route, Tracks: tracks(MaxTracks + 1)}, false},
		{"most stats", Stats{Route: route, Receive: trackStats(MaxTracks)}, true},
		{"stats of no leg", Stats{}, false},
		{"too many stats", Stats{Route: route, Receive: trackStats(MaxTracks + 1)}, false},
		{"stats of an unknown source", Stats{Route: route, Send: []TrackStats{{Source: "x"}}}, false},
		{"stats of nonsense", Stats{Route: route, Send: []TrackStats{{Source: Camera, Participant: "?"}}}, false},
		{"stats with a long codec", Stats{Route: route, Send: []TrackStats{{Source: Camera, Codec: long(33)}}}, false},
		{"stats with a long state", Stats{Route: route, ICEState: long(33)}, false},
		{"stats with a long path", Stats{Route: route, Path: long(17)}, false},
		{"idle", Heartbeat{}, true},
		{"busy beyond the capacity", Heartbeat{Load: 1.25}, true},
		{"negative load", Heartbeat{Load: -0.1}, false},
		{"reservation of no tenant", Reserve{EncounterRef: EncounterRef{Encounter: "e"}}, false},
		{"reservation of no encounter", Reserve{EncounterRef: EncounterRef{Tenant: "t"}}, false},
		{"attach without leg", Attach{EncounterRef: visit, Participant: "p", Kind: BrowserSession}, false},
		{"attach without encounter", Attach{Route: route, Participant: "p", Kind: BrowserSession}, false},
		{"attach without participant", Attach{Route: route, EncounterRef: visit, Kind: BrowserSession}, false},
		{"attach without kind", Attach{Route: route, EncounterRef: visit, Participant: "p"}, false},
		{"attach of an unknown source", Attach{
			Route: route, EncounterRef: visit, Participant: "p", Kind: WHIPSession, CanPublish: []Source{"x"},
		}, false},
		{"attach to nonsense", Attach{Route: route, EncounterRef: visit, Participant: "p", Kind: WHEPSession, Target: "/"}, false},
		{"membership of nobody", Membership{EncounterRef: visit}, true},
		{"membership of no encounter", Membership{}, false},
		{"membership of nonsense", Membership{EncounterRef: visit, Admitted: []string{"p", ""}}, false},
		{"membership of waiting nonsense", Membership{EncounterRef: visit, Waiting: []string{"\x00"}}, false},
		{"revocation of nothing", Revoke{}, true},
		{"most revocations", Revoke{slices.Repeat([]Revocation{{"v.p.s", 1}}, MaxRevocations)}, true},
		{"too many revocations", Revoke{slices.Repeat([]Revocation{{"v.p.s", 1}}, MaxRevocations+1)}, false},
		{"revocation of nonsense", Revoke{[]Revocation{{"v p", 1}}}, false},
		{"revocation without end", Revoke{[]Revocation{{"v", 0}}}, false},
		{"revocation beyond all time", Revoke{[]Revocation{{"v", maxUnix + 1}}}, false},
		{"too much revoked", Revoked{Credentials: slices.Repeat([]string{"v"}, MaxRevocations+1)}, false},
		{"nonsense revoked", Revoked{Credentials: []string{""}}, false},
		{"less than nothing ended", Revoked{Ended: -1}, false},
		{"most addresses", Allow{slices.Repeat([]string{"192.0.2.1:7200"}, MaxAllowed)}, true},
		{"too many addresses", Allow{slices.Repeat([]string{"192.0.2.1:7200"}, MaxAllowed+1)}, false},
		{"address of a name", Allow{[]string{"sfu.example:7200"}}, false},
		{"address without port", Allowed{[]string{"192.0.2.1"}}, false},
		{"address of every port", Allowed{[]string{"192.0.2.1:0"}}, false},
		{"restart without leg", Restart{PC: Publish, Fragment: "f"}, false},
		{"restart without fragment", Restart{Route: route, PC: Publish}, false},
		{"restarted without fragment", Restarted{Route: route, PC: Publish}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			data, err := Encode(c.m)
			require.NoError(t, err)
			_, err = Decode(data)
			if c.ok {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, ErrInvalid)
			require.Less(t, len(err.Error()), 300)
		})
	}
}

func TestFrames(t *testing.T) {
	peer, err := DecodeFrame([]byte(`{"message":{"type":"heartbeat"}}`))
	require.NoError(t, err)
	require.Equal(t, Frame{Message: Heartbeat{}}, peer, "without a session it is for the peer itself")
	for data, want := range map[string]error{
		``: ErrMalformed, `{"session":1}`: ErrMalformed, `{"session":"s1"}`: ErrMalformed, `{"message":[]}`: ErrMalformed,
		`{"message":null}`: ErrUnknownType, `{"session":"s1","message":{"type":"admit"}}`: ErrInvalid,
		`{"session":"a/b","message":{"type":"end"}}`: ErrInvalid,
		strings.Repeat(" ", MaxFrameBytes+1):         ErrTooLarge,
	} {
		_, err := DecodeFrame([]byte(data))
		require.ErrorIs(t, err, want, "%.60q", data)
	}
	full := `{"session":"s1","message":{"type":"ping"` + strings.Repeat(" ", MaxMessageBytes-len(`{"type":"ping"}`)) + `}}`
	_, err = DecodeFrame([]byte(full))
	require.NoError(t, err, "a frame has room for the largest message")
}

func TestWhatCannotBeEncodedIsAnError(t *testing.T) {
	broken := Join{Token: "t", RTT: map[string]float64{"eu": math.NaN()}}
	_, err := Encode(broken)
	require.ErrorContains(t, err, "join")
	_, err = EncodeFrame(Frame{Message: broken})
	require.Error(t, err)
	require.ErrorContains(t, broken.Validate(), "rtt")
}

// internal lists what only gateways, SFUs and relays say to each other, which the document mentions in prose.
var internal = []string{
	"hello", "heartbeat", "draining", "reserve", "attach", "attached", "refused", "detach", "gone", "membership", "restart", "restarted",
	"revoke", "revoked", "allow", "allowed",
}

func TestProtocolDocumentNamesTheWholeVocabulary(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	require.NoError(t, err)
	document := string(text)
	client, _, found := strings.Cut(document, "## Gateway and SFU")
	require.True(t, found)
	for name := range vocabulary {
		part := client
		if slices.Contains(internal, name) {
			part = document
		}
		require.Contains(t, part, "`"+name+"`", "docs/protocol.md does not describe %s", name)
	}
	codes := []string{ByeEnded, ByeRemoved, ByeReplaced, ByeShutdown, ByeLeft, ByeSlow}
	for _, code := range append(codes, RefusedBusy, RefusedStale) {
		require.Contains(t, document, "`"+code+"`")
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range samples {
		data, err := Encode(m)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"type":"offer","leg":1,"pc":"publish","sdp":""}`))
	f.Add([]byte(`{"TYPE":"ping","Id":1}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := Decode(data)
		if err != nil {
			return
		}
		requireStable(t, m)
	})
}

func FuzzDecodeFrame(f *testing.F) {
	for _, m := range samples {
		data, err := EncodeFrame(Frame{Session: "s1", Message: m})
		require.NoError(f, err)
		f.Add(data)
	}
	f.Add([]byte(`{"session":"","message":{}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := DecodeFrame(data)
		if err != nil {
			return
		}
		require.True(t, frame.Session == "" || ValidID(frame.Session))
		requireStable(t, frame.Message)
	})
}

// requireStable demands that what was accepted once is valid, and accepted again when it is passed on.
func requireStable(t *testing.T, m Message) {
	t.Helper()
	require.NoError(t, m.Validate())
	first, err := Encode(m)
	if errors.Is(err, ErrTooLarge) { // it can be longer than it came
		return
	}
	require.NoError(t, err)
	require.True(t, json.Valid(first))
	again, err := Decode(first)
	require.NoError(t, err)
	second, err := Encode(again)
	require.NoError(t, err)
	require.Equal(t, string(first), string(second))
}
