package signaling

// PeerConnection names which of a leg's two peer connections a description belongs to.
type PeerConnection string

// A leg publishes on one peer connection (the client offers) and subscribes on another (the SFU offers;
// a WHEP client offers itself).
const (
	Publish   PeerConnection = "publish"
	Subscribe PeerConnection = "subscribe"
)

// Source is what a track shows or lets hear.
type Source string

// Sources a participant can publish.
const (
	Microphone Source = "microphone"
	Camera     Source = "camera"
	Screen     Source = "screen"
)

// Route names the leg and the placement epoch a message belongs to: while a participant moves
// between SFUs two legs are open at once, and a message of an old epoch must not touch the new one.
type Route struct {
	// Leg counts the legs of one session from 1.
	Leg uint32 `json:"leg"`
	// Epoch is the placement epoch, which only grows for an encounter.
	Epoch uint64 `json:"epoch"`
}

// On returns the route itself, so that embedding it makes a message a MediaMessage.
func (r Route) On() Route { return r }

// Track says what the media section with identification tag MID carries (RFC 8843).
type Track struct {
	MID    string `json:"mid"`
	Source Source `json:"source"`
	// Participant is set in what an SFU sends; in what a client sends it is its own and left empty.
	Participant string `json:"participant,omitempty"`
}

// Offer is an SDP offer (RFC 8829) for one peer connection of a leg.
type Offer struct {
	Route
	PC PeerConnection `json:"pc"`
	// Negotiation counts the offers of this peer connection from 1; the answer repeats it. An offer
	// repeated after a resume has the same number, and its receiver repeats its answer.
	Negotiation uint32  `json:"negotiation"`
	SDP         string  `json:"sdp"`
	Tracks      []Track `json:"tracks,omitempty"`
}

// Answer is the SDP answer to the offer with the same Negotiation.
type Answer struct {
	Route
	PC          PeerConnection `json:"pc"`
	Negotiation uint32         `json:"negotiation"`
	SDP         string         `json:"sdp"`
}

// Candidate is one trickled ICE candidate (RFC 8838). An empty Candidate means end of candidates.
type Candidate struct {
	Route
	PC        PeerConnection `json:"pc"`
	Candidate string         `json:"candidate"`
	MID       string         `json:"mid,omitempty"`
}

// MediaState is what a participant is sending on purpose: a muted microphone is not a broken one.
type MediaState struct {
	Route
	Audio  bool `json:"audio"`
	Video  bool `json:"video"`
	Screen bool `json:"screen"`
}

// Peer is one other participant of the encounter as its SFU sees it.
type Peer struct {
	Participant string `json:"participant"`
	Audio       bool   `json:"audio"`
	Video       bool   `json:"video"`
	Screen      bool   `json:"screen"`
}

// Peers is the list of the other participants that have media on the SFU, sent whenever it changes.
type Peers struct {
	Route
	Peers []Peer `json:"peers"`
	// Partial says that this is only what has changed, as in large encounters: everybody else is as told before.
	Partial bool `json:"partial,omitempty"`
	// Gone are, in a partial list, those who have no media any more.
	Gone []string `json:"gone,omitempty"`
}

// Tracks says what the media sections of the subscribing peer connection carry from now on, whole: in large encounters the SFU
// gives sections to other sources without an offer.
type Tracks struct {
	Route
	Tracks []Track `json:"tracks"`
}

// Speaker names the active speaker; empty when nobody speaks.
type Speaker struct {
	Route
	Participant string `json:"participant"`
}

// RestartICE asks the SFU for an offer with new ICE credentials (RFC 8445, section 9): the client's network has changed, and it
// looks for new paths.
type RestartICE struct {
	Route
	// Negotiation is that of the offer whose credentials are to be replaced. A later offer may have replaced them already; then
	// there is no further one.
	Negotiation uint32 `json:"negotiation"`
}

// Paused lists all videos that the SFU does not send at the moment because the client's path carries no more,
// sent whenever that changes. They go on by themselves.
type Paused struct {
	Route
	Tracks []Track `json:"tracks"`
}

// MaxTilePixels bounds either side of a tile.
const MaxTilePixels = 1 << 14

// Tile is how a client shows one video.
type Tile struct {
	Participant string `json:"participant"`
	Source      Source `json:"source"`
	// Width and Height are in the screen's own pixels; zero means that the video cannot be seen.
	Width  int `json:"width"`
	Height int `json:"height"`
	// Pinned videos come before all others.
	Pinned bool `json:"pinned,omitempty"`
}

// View is how a client shows the videos it gets, whole, sent whenever that changes. Videos it does not list are
// taken to be seen, at any size.
type View struct {
	Route
	Tiles []Tile `json:"tiles"`
}

// Layers says which simulcast layers (RFC 8853) of a source that the client publishes somebody receives, by rid;
// the client need not send the others. All are wanted until this is said.
type Layers struct {
	Route
	Source Source   `json:"source"`
	Active []string `json:"active"`
}

// Codec asks the client to send a source that it publishes in another codec, since somebody who watches cannot decode the one it
// chose.
type Codec struct {
	Route
	Source Source `json:"source"`
	// Name is that of the codec's RTP payload format in lower case, like "vp8"; empty once the client may choose again.
	Name string `json:"name"`
}

// Type implements Message.
func (Offer) Type() string      { return "offer" }
func (Answer) Type() string     { return "answer" }
func (Candidate) Type() string  { return "candidate" }
func (MediaState) Type() string { return "media-state" }
func (Peers) Type() string      { return "peers" }
func (Tracks) Type() string     { return "tracks" }
func (Speaker) Type() string    { return "speaker" }
func (Paused) Type() string     { return "paused" }
func (Codec) Type() string      { return "codec" }
func (View) Type() string       { return "view" }
func (Layers) Type() string     { return "layers" }
func (RestartICE) Type() string { return "restart-ice" }
