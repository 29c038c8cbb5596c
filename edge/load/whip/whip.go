// Package whip lets the guests of a load test in over WHIP (RFC 9725) and WHEP, as any media server of that kind takes
// them: one peer connection for what a guest publishes, and one for each endpoint that it receives from.
package whip

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pion/ice/v4"
	"github.com/pion/logging"
	"github.com/pion/rtcp"
	"github.com/pion/webrtc/v4"
	"golang.org/x/sync/errgroup"

	"github.com/wardline/wardline/edge/client/peer"
	"github.com/wardline/wardline/edge/load"
	"github.com/wardline/wardline/edge/load/synthetic"
)

// Placeholders in endpoints: the number of the visit, and that of the publisher within it.
const (
	visitMark     = "{visit}"
	publisherMark = "{publisher}"
)

// Config is what a Door needs.
type Config struct {
	// Publish and Subscribe are the URLs of a WHIP and a WHEP endpoint, with {visit} and {publisher} in them for what they
	// are about. A guest receives once from a Subscribe without {publisher}, otherwise from each publisher of its visit.
	Publish, Subscribe string
	// Bearer is the token sent to both, "" for none.
	Bearer string
	// TLS is used towards them; nil trusts the system's authorities.
	TLS *tls.Config
}

// Limits of one request.
const (
	timeout   = 10 * time.Second
	maxAnswer = 1 << 20
	// again is how long a guest waits before it asks once more for what is not there yet.
	again = 300 * time.Millisecond
)

// Door implements load.Door.
type Door struct {
	Config
	http     *http.Client
	settings webrtc.SettingEngine
}

// New checks a configuration.
func New(config Config) (*Door, error) {
	for name, endpoint := range map[string]string{"publish": config.Publish, "subscribe": config.Subscribe} {
		parsed, err := url.Parse(expand(endpoint, 1, 1))
		if endpoint == "" && name == "subscribe" {
			continue
		}
		if err != nil || parsed.Scheme != "http" && parsed.Scheme != "https" || parsed.Host == "" || parsed.User != nil {
			return nil, fmt.Errorf("%s: must be http(s)://HOST/PATH without a user, %s and %s may be in it", name, visitMark, publisherMark)
		}
	}
	d := &Door{Config: config, http: &http.Client{
		Timeout: timeout, Transport: &http.Transport{TLSClientConfig: config.TLS, MaxIdleConnsPerHost: 32},
	}}
	d.settings.LoggerFactory = &logging.DefaultLoggerFactory{Writer: io.Discard, DefaultLogLevel: logging.LogLevelDisabled}
	d.settings.SetICEMulticastDNSMode(ice.MulticastDNSModeDisabled)
	d.settings.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	d.settings.DisableActiveTCP(true)
	parsed, _ := url.Parse(expand(config.Publish, 1, 1))
	address := net.ParseIP(parsed.Hostname())
	d.settings.SetIncludeLoopbackCandidate(parsed.Hostname() == "localhost" || address != nil && address.IsLoopback())
	return d, nil
}

// expand fills an endpoint in.
func expand(endpoint string, visit, publisher int) string {
	return strings.NewReplacer(visitMark, strconv.Itoa(visit), publisherMark, strconv.Itoa(publisher)).Replace(endpoint)
}

// Attend implements load.Door.
func (d *Door) Attend(ctx context.Context, guest *load.Guest) error {
	group, ctx := errgroup.WithContext(ctx)
	if guest.Source != nil {
		group.Go(func() error { return d.publish(ctx, expand(d.Publish, guest.Visit, guest.Number), guest.Source) })
	}
	for _, endpoint := range d.endpoints(guest) {
		group.Go(func() error { return d.subscribe(ctx, endpoint, guest) })
	}
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close implements load.Door; sessions have ended with their guests.
func (d *Door) Close(context.Context) error {
	d.http.CloseIdleConnections()
	return nil
}

// endpoints are where a guest receives from.
func (d *Door) endpoints(guest *load.Guest) []string {
	if d.Subscribe == "" || guest.Publishers == 0 || guest.Publishers == 1 && guest.Source != nil {
		return nil
	}
	if !strings.Contains(d.Subscribe, publisherMark) {
		return []string{expand(d.Subscribe, guest.Visit, guest.Number)}
	}
	var all []string
	for publisher := 1; publisher <= guest.Publishers; publisher++ {
		if publisher != guest.Number {
			all = append(all, expand(d.Subscribe, guest.Visit, publisher))
		}
	}
	return all
}

// publish sends a source until ctx ends.
func (d *Door) publish(ctx context.Context, endpoint string, source *synthetic.Source) error {
	api, err := peer.Publishing(d.settings)
	if err != nil {
		return err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	var reading errgroup.Group
	defer func() {
		_ = pc.GracefulClose()
		_ = reading.Wait()
	}()
	for _, track := range source.Tracks() {
		transceiver, err := pc.AddTransceiverFromTrack(track, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
		if err != nil {
			return err
		}
		reading.Go(func() error { readReports(transceiver.Sender(), track); return nil })
	}
	return d.hold(ctx, endpoint, pc)
}

// readReports reads what the server says about a track until it ends.
func readReports(sender *webrtc.RTPSender, track *synthetic.Track) {
	for {
		packets, _, err := sender.ReadRTCP()
		if err != nil {
			return
		}
		for _, each := range packets {
			switch each.(type) {
			case *rtcp.PictureLossIndication, *rtcp.FullIntraRequest:
				track.KeyFrame()
			}
		}
	}
}

// subscribe receives from an endpoint until ctx ends.
func (d *Door) subscribe(ctx context.Context, endpoint string, guest *load.Guest) error {
	for {
		err := d.receive(ctx, endpoint, guest)
		refusal, refused := errors.AsType[*refusedError](err)
		if !refused || !refusal.passing() {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(again):
		}
	}
}

func (d *Door) receive(ctx context.Context, endpoint string, guest *load.Guest) error {
	api, receiver, err := peer.Subscribing(d.settings)
	if err != nil {
		return err
	}
	pc, err := api.NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		return err
	}
	var reporting errgroup.Group
	life, end := context.WithCancel(ctx)
	defer func() {
		end()
		_ = pc.GracefulClose()
		_ = reporting.Wait()
	}()
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		_, err := pc.AddTransceiverFromKind(kind, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly})
		if err != nil {
			return err
		}
	}
	pc.OnTrack(func(track *webrtc.TrackRemote, from *webrtc.RTPReceiver) { receiver.Take(track, from, guest.Packet) })
	reporting.Go(func() error { receiver.Run(life, pc); return nil })
	return d.hold(ctx, endpoint, pc)
}

// hold opens a session with a peer connection that has all its tracks, and keeps it until ctx ends or it fails.
func (d *Door) hold(ctx context.Context, endpoint string, pc *webrtc.PeerConnection) error {
	broken := make(chan webrtc.PeerConnectionState, 1)
	pc.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateFailed || state == webrtc.PeerConnectionStateClosed {
			select {
			case broken <- state:
			default:
			}
		}
	})
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		return err
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		return err
	}
	select {
	case <-gathered:
	case <-ctx.Done():
		return ctx.Err()
	}
	answer, session, err := d.post(ctx, endpoint, pc.LocalDescription().SDP)
	if err != nil {
		return err
	}
	defer d.leave(ctx, session)
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	select {
	case <-ctx.Done():
		return nil
	case state := <-broken:
		return fmt.Errorf("the connection %s", state)
	}
}

// refusedError is an answer that is none.
type refusedError struct {
	status int
	text   string
}

// Error implements error.
func (e *refusedError) Error() string { return "refused: " + e.text }

// passing reports whether time may cure it: the publisher may not be there yet.
func (e *refusedError) passing() bool {
	return e.status == http.StatusNotFound || e.status == http.StatusConflict || e.status == http.StatusTooManyRequests ||
		e.status == http.StatusServiceUnavailable
}

// post opens a session.
func (d *Door) post(ctx context.Context, endpoint, offer string) (answer, session string, err error) {
	request, err := d.request(ctx, http.MethodPost, endpoint, offer)
	if err != nil {
		return "", "", err
	}
	response, err := d.http.Do(request)
	if err != nil {
		return "", "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return "", "", err
	}
	if response.StatusCode != http.StatusCreated {
		return "", "", &refusedError{response.StatusCode, response.Status}
	}
	if location, err := response.Location(); err == nil {
		session = location.String()
	}
	return string(body), session, nil
}

func (d *Door) request(ctx context.Context, method, to, body string) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, method, to, bytes.NewReader([]byte(body)))
	if err != nil {
		return nil, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/sdp")
	}
	if d.Bearer != "" {
		request.Header.Set("Authorization", "Bearer "+d.Bearer)
	}
	return request, nil
}

// leave ends a session, as far as it can be named.
func (d *Door) leave(ctx context.Context, session string) {
	if session == "" {
		return
	}
	request, err := d.request(context.WithoutCancel(ctx), http.MethodDelete, session, "")
	if err != nil {
		return
	}
	if response, err := d.http.Do(request); err == nil {
		_ = response.Body.Close()
	}
}
