package sfu

import (
	"strconv"
	"time"

	"github.com/pion/webrtc/v4"
	"github.com/rs/zerolog"
	"golang.org/x/time/rate"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/core/signaling/control"
)

// Reasons for a leg to end by itself, as in signaling.Gone.
const (
	goneICE      = "ice-failed"
	goneOrphaned = "orphaned"
	goneRemoved  = "removed"
	goneEnded    = "ended"
	goneShutdown = "shutdown"
)

// leg is one participant's session on this server: up to two peer connections, and the gateway that
// speaks for them. The room's lock guards it.
type leg struct {
	room         *room
	session      string
	route        signaling.Route
	participant  string
	kind         signaling.SessionKind
	canPublish   []signaling.Source
	canSubscribe bool
	target       string // WHEP: who to receive, empty for the active speaker
	log          zerolog.Logger

	negotiations negotiations
	offers       *rate.Limiter // of the client

	link       *control.Link // nil while no gateway speaks for the leg
	orphaned   time.Time     // since when
	publisher  publisher
	subscriber subscriber
	state      *signaling.MediaState // what the client says it sends
	peers      string                // what it was last told, to tell only news
	informed   uint64                // in a crowd: since it gathered for the how manieth time
	closed     bool
}

func newLeg(r *room, session string, m signaling.Attach, log zerolog.Logger) *leg {
	l := &leg{
		room: r, session: session, route: m.Route, participant: m.Participant, kind: m.Kind, target: m.Target,
		log: log.With().Str("encounter", m.Encounter).Str("tenant", m.Tenant).Str("participant", m.Participant).
			Str("session", session).Str("trace_id", m.TraceID).Uint32("leg", m.Leg).Logger(),
		offers: rate.NewLimiter(offersPerSecond, offersInARow),
	}
	l.publisher.leg, l.subscriber.leg = l, l
	path := newPath(rate.NewLimiter(resendsPerSecond, resendsInARow))
	path.epoch = path.began.Sub(r.server.started)
	l.subscriber.feedback = newFeedback(path)
	l.permit(m)
	return l
}

// permit takes over what the participant may do, also with what is published already.
func (l *leg) permit(m signaling.Attach) {
	l.canPublish, l.canSubscribe = m.CanPublish, m.CanSubscribe
	l.publisher.permitted()
}

// clock names the clock that this leg's timestamps come from.
func (l *leg) clock() string { return l.session + "/" + strconv.FormatUint(uint64(l.route.Leg), 10) }

// send queues a message for the client; without a gateway it is lost, and said again on re-attach.
func (l *leg) send(m signaling.Message) {
	if l.link != nil {
		l.link.Send(signaling.Frame{Session: l.session, Message: m})
	}
}

// refuse tells the client's gateway that a message was not accepted.
func (l *leg) refuse(about string, err error) {
	l.log.Info().Err(err).Str("about", about).Msg("refused")
	l.room.server.metrics.refused.WithLabelValues(signaling.RefusedInvalid).Inc()
	l.send(signaling.Refused{
		Route: l.route, EncounterRef: l.room.ref, Code: signaling.RefusedInvalid, Message: err.Error(), About: about,
	})
}

// stateChanged follows the leg's peer connections; one that was given up while negotiating is none of them.
func (l *leg) stateChanged(conn *connection, state webrtc.PeerConnectionState) {
	l.room.mu.Lock()
	defer l.room.mu.Unlock()
	if l.closed || conn != l.publisher.conn && conn != l.subscriber.conn {
		return
	}
	switch state {
	case webrtc.PeerConnectionStateConnected:
		l.log.Debug().Msg("connected")
		if conn == l.subscriber.conn {
			l.subscriber.connected()
		}
	case webrtc.PeerConnectionStateFailed, webrtc.PeerConnectionStateClosed:
		l.room.end(l, goneICE)
	default:
	}
}

// sends reports what the participant sends: what the client said, else what there is.
func (l *leg) sends() signaling.Peer {
	peer := signaling.Peer{Participant: l.participant}
	if l.state != nil {
		peer.Audio, peer.Video, peer.Screen = l.state.Audio, l.state.Video, l.state.Screen
		return peer
	}
	peer.Audio = l.publisher.track(signaling.Microphone) != nil
	peer.Video = l.publisher.track(signaling.Camera) != nil
	peer.Screen = l.publisher.track(signaling.Screen) != nil
	return peer
}

// close stops all media of the leg.
func (l *leg) close() {
	l.closed = true
	l.negotiations.queue = nil
	l.subscriber.close()
	for _, conn := range []*connection{l.publisher.conn, l.subscriber.conn} {
		if conn != nil {
			conn.transport.close()
			l.room.server.retire(conn.pc)
		}
	}
	for _, t := range l.publisher.tracks {
		t.audible.Store(false)
	}
	l.publisher.tracks = nil
}

// forsaken reports whether the leg waited in vain for another gateway. WHIP and WHEP legs live by their ICE alone once they have
// been negotiated, and so does every leg while there is no gateway at all: a visit outlives them.
func (l *leg) forsaken(now time.Time) bool {
	if l.publisher.conn != nil || l.subscriber.conn != nil {
		if l.kind != signaling.BrowserSession {
			return false
		}
		if l.room.server.control.Links() == 0 {
			l.orphaned = now
		}
	}
	return now.Sub(l.orphaned) >= l.room.server.cfg.OrphanAfter
}
