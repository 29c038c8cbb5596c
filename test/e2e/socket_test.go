package e2e

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/secrets"
)

// socket is a signaling client that knows only docs/protocol.md.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

func dialSocket(t *testing.T, d *dev) *socket {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, response, err := websocket.Dial(ctx, strings.Replace(d.URL, "http", "ws", 1)+"/v1/signal",
		&websocket.DialOptions{Subprotocols: []string{"wardline.v1"}})
	require.NoError(t, err)
	if response.Body != nil {
		_ = response.Body.Close()
	}
	conn.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t: t, conn: conn}
}

func joinBySocket(t *testing.T, d *dev, token string) *socket {
	t.Helper()
	s := dialSocket(t, d)
	s.send(map[string]any{"type": "join", "token": token})
	s.await("welcome", func(map[string]any) bool { return true })
	return s
}

func (s *socket) send(message map[string]any) {
	s.t.Helper()
	data, err := json.Marshal(message)
	require.NoError(s.t, err)
	require.NoError(s.t, s.conn.Write(s.t.Context(), websocket.MessageText, data))
}

// await reads until a message of the type satisfies the condition.
func (s *socket) await(kind string, condition func(map[string]any) bool) map[string]any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 15*time.Second)
	defer cancel()
	for {
		_, data, err := s.conn.Read(ctx)
		require.NoError(s.t, err, "waiting for %s", kind)
		var message map[string]any
		require.NoError(s.t, json.Unmarshal(data, &message))
		if message["type"] == kind && condition(message) {
			return message
		}
	}
}

func TestRefusedTokensHaveDistinctCodes(t *testing.T) {
	d := startDev(t)
	valid := d.Token("visit", "patient", "p-1")
	parts := strings.Split(valid, ".")
	other := startDev(t)
	keeper, err := secrets.OpenLocal(filepath.Join(d.Data, "secrets"))
	require.NoError(t, err)
	mint := func(from, to time.Duration) string {
		now := time.Now()
		token, err := access.Mint(t.Context(), keeper, access.Grant{
			Tenant: "dev", Encounter: "visit", Participant: "p-1", Role: access.Patient, Expires: now.Add(to),
		}, now.Add(from), now.Add(from))
		require.NoError(t, err)
		return token
	}
	for name, test := range map[string]struct{ token, code string }{
		"garbage":     {"not.a.token", "token-malformed"},
		"foreign key": {other.Token("visit", "patient", "p-1"), "token-unknown-key"},
		"alg none":    {"eyJhbGciOiJub25lIn0." + parts[1] + ".", "token-algorithm"},
		"expired":     {mint(-2*time.Hour, -time.Hour), "token-expired"},
		"too early":   {mint(time.Hour, 2*time.Hour), "token-not-yet-valid"},
		"tampered":    {parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), "token-signature"},
	} {
		t.Run(name, func(t *testing.T) {
			s := dialSocket(t, d)
			s.t = t
			s.send(map[string]any{"type": "join", "token": test.token})
			message := s.await("error", func(map[string]any) bool { return true })
			require.Equal(t, test.code, message["code"])
			_, _, err := s.conn.Read(t.Context())
			require.Equal(t, websocket.StatusCode(4401), websocket.CloseStatus(err))
		})
	}
}

func TestNobodyElseIsAffectedByGarbage(t *testing.T) {
	d := startDev(t)
	provider := joinBySocket(t, d, d.Token("visit", "provider", "d-1"))
	noisy := joinBySocket(t, d, d.Token("visit", "patient", "p-1"))
	require.NoError(t, noisy.conn.Write(t.Context(), websocket.MessageText, []byte(`{"type":`)))
	require.Equal(t, "bad-message", noisy.await("error", func(map[string]any) bool { return true })["code"])
	_ = noisy.conn.Write(t.Context(), websocket.MessageText, []byte(strings.Repeat("x", 512<<10)))
	provider.send(map[string]any{"type": "ping", "id": 7})
	provider.await("pong", func(m map[string]any) bool { return m["id"] == 7.0 })
}
