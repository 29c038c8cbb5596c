package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/pion/logging"
	"github.com/pion/turn/v4"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/client"
	"github.com/wardline/wardline/edge/gateway"
)

// visitor speaks the signaling protocol and has no media of its own: it can also do what no page does.
type visitor struct {
	t    *testing.T
	conn *websocket.Conn
	got  chan signaling.Message
}

func visitAs(t *testing.T, url, token string) *visitor {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), strings.Replace(url, "http", "ws", 1)+"/v1/signal",
		&websocket.DialOptions{Subprotocols: []string{gateway.Subprotocol}})
	require.NoError(t, err)
	conn.SetReadLimit(8 << 20)
	v := &visitor{t: t, conn: conn, got: make(chan signaling.Message, 1024)}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	running.Go(func() {
		defer close(v.got)
		for {
			_, data, err := conn.Read(ctx)
			if err != nil {
				return
			}
			if m, err := signaling.Decode(data); err == nil {
				v.got <- m
			}
		}
	})
	running.Go(func() { // a gateway gives up who is silent
		for {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
				v.send(ctx, signaling.Ping{ID: 1})
			}
		}
	})
	t.Cleanup(func() { cancel(); _ = conn.CloseNow(); running.Wait() })
	v.send(ctx, signaling.Join{Token: strings.TrimSpace(token)})
	return v
}

func (v *visitor) send(ctx context.Context, m signaling.Message) {
	data, err := signaling.Encode(m)
	if err == nil {
		_ = v.conn.Write(ctx, websocket.MessageText, data)
	}
}

func hear[M signaling.Message](v *visitor) M {
	v.t.Helper()
	late := time.After(20 * time.Second)
	for {
		select {
		case m, open := <-v.got:
			require.True(v.t, open, "the socket was closed")
			if wanted, ok := m.(M); ok {
				return wanted
			}
		case <-late:
			require.FailNow(v.t, "nothing came")
		}
	}
}

// relayClient uses a relay with the credentials that a gateway handed out.
func relayClient(t *testing.T, server signaling.ICEServer) *turn.Client {
	t.Helper()
	address := regexp.MustCompile(`^turn:(.*)\?transport=udp$`).FindStringSubmatch(server.URLs[0])[1]
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	quiet := logging.NewDefaultLoggerFactory()
	quiet.DefaultLogLevel = logging.LogLevelDisabled
	client, err := turn.NewClient(&turn.ClientConfig{
		STUNServerAddr: address, TURNServerAddr: address, Conn: conn, Realm: "wardline", RTO: 2 * time.Second,
		Username: server.Username, Password: server.Credential, LoggerFactory: quiet,
	})
	require.NoError(t, err)
	t.Cleanup(func() { client.Close(); _ = conn.Close() })
	require.NoError(t, client.Listen())
	return client
}

// echoPeer sends back what it gets.
func echoPeer(t *testing.T) net.PacketConn {
	t.Helper()
	peer, err := net.ListenPacket("udp4", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 1500)
		for {
			n, from, err := peer.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = peer.WriteTo(buffer[:n], from)
		}
	}()
	t.Cleanup(func() { _ = peer.Close(); <-done })
	return peer
}

// echoes reports whether a datagram comes back over a relayed address within a time.
func echoes(conn net.PacketConn, peer net.Addr, within time.Duration) bool {
	if _, err := conn.WriteTo([]byte("datagram"), peer); err != nil {
		return false
	}
	_ = conn.SetReadDeadline(time.Now().Add(within))
	_, _, err := conn.ReadFrom(make([]byte, 1500))
	return err == nil
}

// relayed counts the reports of a participant whose media passes a relay and comes in.
func (p *joining) relayed() (reports int) {
	for line := range strings.Lines(p.out.String()) {
		var event client.Event
		if json.Unmarshal([]byte(line), &event) == nil && event.Kind == client.Stats && event.Path == "relay" && event.Packets > 0 {
			reports++
		}
	}
	return reports
}

// Somebody is removed whose software does not care: their relay ends within 2 s and their credentials are of no more
// use, while the calls of others go on through the same relay.
func TestRemovedParticipantLosesTheRelayAndOthersDoNot(t *testing.T) {
	t.Parallel()
	peer := echoPeer(t)
	data := t.TempDir()
	url := startDevHere(t, data, "--plain-http", "--allow-peer", peer.LocalAddr().String())
	doctor := join(t, joinToken(t, data, "provider", "d-1"), participantOptions{gateways: []string{url}, admit: true, relay: true})
	patient := join(t, joinToken(t, data, "patient", "p-1"), participantOptions{gateways: []string{url}, relay: true})
	flows := func(p *joining) {
		t.Helper()
		seen := p.relayed()
		require.Eventually(t, func() bool { return p.relayed() > seen+1 }, 20*time.Second, 20*time.Millisecond, &p.out)
	}
	flows(doctor)
	flows(patient)

	host := visitAs(t, url, joinToken(t, data, "provider", "d-2"))
	hear[signaling.Welcome](host)
	stubborn := visitAs(t, url, joinToken(t, data, "family", "f-1"))
	server := hear[signaling.Welcome](stubborn).ICEServers[0]
	held, err := relayClient(t, server).Allocate()
	require.NoError(t, err)
	defer func() { _ = held.Close() }()
	require.Eventually(t, func() bool { return echoes(held, peer.LocalAddr(), time.Second) }, 10*time.Second, 10*time.Millisecond)
	again, err := relayClient(t, server).Allocate()
	require.NoError(t, err, "until then the credentials are good for more than one")
	require.NoError(t, again.Close())

	removed := time.Now()
	host.send(t.Context(), signaling.Remove{Participant: "f-1"})
	require.Eventually(t, func() bool { return !echoes(held, peer.LocalAddr(), 200*time.Millisecond) }, 2*time.Second, 10*time.Millisecond)
	t.Logf("the relay ended within %v", time.Since(removed))
	require.Equal(t, signaling.ByeRemoved, hear[signaling.Bye](stubborn).Code)
	require.False(t, echoes(held, peer.LocalAddr(), 500*time.Millisecond), "it stays so")
	_, err = relayClient(t, server).Allocate()
	require.ErrorContains(t, err, "403")
	flows(doctor)
	flows(patient)

	host.send(t.Context(), signaling.Remove{Participant: "p-1"})
	require.NoError(t, <-patient.ended)
	patient.out.await(t, `"code":"`+signaling.ByeRemoved+`"`)
	other, err := relayClient(t, hostServer(t, url, data)).Allocate()
	require.NoError(t, err, "who was not removed gets relays as before")
	require.NoError(t, other.Close())
	require.Empty(t, doctor.ended)
	http.DefaultClient.CloseIdleConnections()
}

// hostServer is the relay that somebody new is handed.
func hostServer(t *testing.T, url, data string) signaling.ICEServer {
	t.Helper()
	return hear[signaling.Welcome](visitAs(t, url, joinToken(t, data, "provider", "d-3"))).ICEServers[0]
}
