package vaulttest

import (
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a client and a server, and makes the way bad.
type Proxy struct {
	// Address is https://127.0.0.1:PORT.
	Address string

	target   string
	listener net.Listener
	life     context.Context
	cancel   context.CancelFunc
	wg       sync.WaitGroup

	mu    sync.Mutex
	delay time.Duration
	cut   bool
	conns map[net.Conn]bool
}

// Proxy makes a way to the server that lasts until the test ends.
func (s *Server) Proxy(t *testing.T) *Proxy {
	t.Helper()
	target, err := url.Parse(s.Address)
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	life, cancel := context.WithCancel(context.Background())
	p := &Proxy{
		Address: "https://" + listener.Addr().String(), target: target.Host, listener: listener,
		life: life, cancel: cancel, conns: make(map[net.Conn]bool),
	}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.cancel()
		_ = listener.Close()
		p.closeAll()
		p.wg.Wait()
	})
	return p
}

// Delay holds every answer back for so long.
func (p *Proxy) Delay(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = d
}

// Cut ends all connections and refuses new ones until Heal.
func (p *Proxy) Cut() {
	p.mu.Lock()
	p.cut = true
	p.mu.Unlock()
	p.closeAll()
}

// Heal makes the way good again.
func (p *Proxy) Heal() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut, p.delay = false, 0
}

func (p *Proxy) closeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for conn := range p.conns {
		_ = conn.Close()
	}
}

// hold registers a connection, or closes it where it must not be.
func (p *Proxy) hold(conn net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut || p.life.Err() != nil {
		_ = conn.Close()
		return false
	}
	p.conns[conn] = true
	return true
}

func (p *Proxy) release(conn net.Conn) {
	_ = conn.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, conn)
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return
		}
		if p.hold(conn) {
			p.wg.Go(func() { p.serve(conn) })
		}
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer p.release(client)
	server, err := (&net.Dialer{}).DialContext(p.life, "tcp", p.target)
	if err != nil || !p.hold(server) {
		return
	}
	defer p.release(server)
	p.wg.Go(func() {
		defer p.release(server)
		_, _ = io.Copy(server, client) // an end is an end
	})
	p.back(client, server)
}

// back copies what the server says, each piece after the delay.
func (p *Proxy) back(client, server net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := server.Read(buffer)
		if err != nil {
			return
		}
		p.mu.Lock()
		delay := p.delay
		p.mu.Unlock()
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-p.life.Done():
			timer.Stop()
			return
		}
		if _, err := client.Write(buffer[:n]); err != nil {
			return
		}
	}
}
