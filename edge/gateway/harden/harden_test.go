package harden_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/core/observe/observetest"
	"github.com/wardline/wardline/edge/gateway/harden"
)

func TestMain(m *testing.M) {
	// net/http holds a connection whose body it did not read for half a second, longer than goleak waits.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// start serves a mux with everything around it.
func start(t *testing.T, tls bool, mux *http.ServeMux) (string, *observetest.Text) {
	t.Helper()
	logs := &observetest.Text{}
	log := zerolog.New(logs)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := harden.Server(log, harden.Wrap(log, tls, nil, mux))
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
		http.DefaultClient.CloseIdleConnections()
	})
	return listener.Addr().String(), logs
}

func get(t *testing.T, method, url string, body io.Reader) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func TestHeadersOfEveryResponse(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/assets/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
	})
	addr, _ := start(t, true, mux)
	for _, path := range []string{"/assets/x", "/nothing-here"} {
		header := get(t, http.MethodGet, "http://"+addr+path, http.NoBody).Header
		policy := header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self' wss://"+addr+";")
		require.Contains(t, policy, "frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
		require.NotContains(t, policy, "unsafe")
		require.Contains(t, header.Get("Permissions-Policy"), "camera=(self), microphone=(self), display-capture=(self)")
		require.Equal(t, "no-referrer", header.Get("Referrer-Policy"))
		require.Equal(t, "nosniff", header.Get("X-Content-Type-Options"))
		require.Equal(t, "same-origin", header.Get("Cross-Origin-Opener-Policy"))
		require.Equal(t, "same-origin", header.Get("Cross-Origin-Resource-Policy"))
		require.Contains(t, header.Get("Strict-Transport-Security"), "max-age=31536000")
	}
	require.Equal(t, "no-store", get(t, http.MethodGet, "http://"+addr+"/x", http.NoBody).Header.Get("Cache-Control"))
	require.Equal(t, "max-age=60", get(t, http.MethodGet, "http://"+addr+"/assets/x", http.NoBody).Header.Get("Cache-Control"))
}

func TestPlainHTTPPromisesNoTLS(t *testing.T) {
	handler := harden.Headers(false, nil, http.NotFoundHandler())
	for host, socket := range map[string]string{
		"localhost:8080": "connect-src 'self' ws://localhost:8080;", "[::1]:80": "connect-src 'self' ws://[::1]:80;",
		"evil;script-src *": "connect-src 'self';", "a b": "connect-src 'self';",
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		r.Host = host
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		require.Empty(t, recorder.Header().Get("Strict-Transport-Security"))
		require.Contains(t, recorder.Header().Get("Content-Security-Policy"), socket)
	}
}

func TestPagesMayConnectToFurtherOriginsWhileTheyAreListed(t *testing.T) {
	origins := []string{"https://gw-2.example:8443", "http://127.0.0.1:80", "https://[2001:db8::1]"}
	handler := harden.Headers(true, func() []string { return origins }, http.NotFoundHandler())
	policy := func() string {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", http.NoBody)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, r)
		return recorder.Header().Get("Content-Security-Policy")
	}
	require.Contains(t, policy(), "connect-src 'self' wss://example.com https://gw-2.example:8443 wss://gw-2.example:8443"+
		" http://127.0.0.1:80 ws://127.0.0.1:80 https://[2001:db8::1] wss://[2001:db8::1]; img-src")
	origins = []string{"https://evil; script-src *", "javascript:alert(1)", "https://*", "gw-3.example", "https://", "data://x"}
	require.Contains(t, policy(), "connect-src 'self' wss://example.com; img-src")
}

func TestLargeBodiesAreRefused(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/read", func(w http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
			w.WriteHeader(http.StatusTeapot)
		}
	})
	addr, _ := start(t, false, mux)
	large := strings.Repeat("x", harden.MaxBodyBytes+1)
	response := get(t, http.MethodPost, "http://"+addr+"/read", strings.NewReader(large))
	require.Equal(t, http.StatusRequestEntityTooLarge, response.StatusCode)
	require.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
	response = get(t, http.MethodPost, "http://"+addr+"/read", io.MultiReader(strings.NewReader(large)))
	require.Equal(t, http.StatusTeapot, response.StatusCode, "a body that did not say how long it is ends at the limit")
	response = get(t, http.MethodPost, "http://"+addr+"/read", strings.NewReader(large[1:]))
	require.Equal(t, http.StatusOK, response.StatusCode)
}

func TestLogSaysWhatHappenedAndNothingPersonal(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/encounters/{id}", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
	addr, logs := start(t, false, mux)
	get(t, http.MethodGet, "http://"+addr+"/v1/encounters/visit-1?token=sesame", http.NoBody)
	get(t, http.MethodGet, "http://"+addr+"/Jane-Doe", http.NoBody)
	request, err := http.NewRequestWithContext(t.Context(), "JANE", "http://"+addr+"/", http.NoBody)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Eventually(t, func() bool { return strings.Count(logs.String(), "\n") == 3 }, 5*time.Second, 5*time.Millisecond)
	text := logs.String()
	require.Contains(t, text, `"method":"GET","route":"GET /v1/encounters/{id}","status":200`)
	require.Contains(t, text, `"method":"other","route":"unmatched","status":404`)
	for _, secret := range []string{"sesame", "Jane", "JANE", "visit-1"} {
		require.NotContains(t, text, secret)
	}
}

func TestRequestsOfAFloodDoNotFillTheLog(t *testing.T) {
	logs := &observetest.Text{}
	mux := http.NewServeMux()
	mux.HandleFunc("/fails", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	handler := harden.Wrap(zerolog.New(logs), false, nil, mux)
	ask := func(path string) {
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, http.NoBody))
	}
	began := time.Now()
	for range 10_000 {
		ask("/nothing-there")
	}
	most := 2000 + 200*(1+int(time.Since(began).Seconds()))
	require.LessOrEqual(t, strings.Count(logs.String(), "\n"), most)
	ask("/fails")
	require.Contains(t, logs.String(), `"route":"/fails"`, "failures have lines of their own")
	require.Eventually(t, func() bool { ask("/nothing-there"); return strings.Contains(logs.String(), `"left_out":`) },
		5*time.Second, time.Millisecond)
}

func TestPanicIsOneFailedRequest(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/early", func(http.ResponseWriter, *http.Request) { panic("at the disco") })
	mux.HandleFunc("/late", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "half")
		panic("at the disco")
	})
	mux.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	addr, logs := start(t, false, mux)

	response := get(t, http.MethodGet, "http://"+addr+"/early", http.NoBody)
	require.Equal(t, http.StatusInternalServerError, response.StatusCode)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NotContains(t, string(body), "disco")
	require.Eventually(t, func() bool { return strings.Contains(logs.String(), "handler panicked") }, 5*time.Second, 5*time.Millisecond)
	require.Contains(t, logs.String(), "harden_test.go")

	for _, path := range []string{"/late", "/abort"} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr+path, http.NoBody)
		require.NoError(t, err)
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			_, err = io.ReadAll(response.Body)
			response.Body.Close()
		}
		require.Error(t, err, "%s: the client must see that the answer is not whole", path)
	}
}

func TestWebSocketPassesThrough(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/signal", func(w http.ResponseWriter, r *http.Request) {
		socket, err := websocket.Accept(w, r, nil)
		if err != nil {
			return
		}
		defer socket.CloseNow()
		kind, data, err := socket.Read(r.Context())
		if err == nil {
			_ = socket.Write(r.Context(), kind, data)
		}
		_ = socket.Close(websocket.StatusNormalClosure, "")
	})
	addr, logs := start(t, false, mux)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	socket, response, err := websocket.Dial(ctx, "ws://"+addr+"/v1/signal", nil)
	require.NoError(t, err)
	if response.Body != nil {
		defer response.Body.Close()
	}
	require.NoError(t, socket.Write(ctx, websocket.MessageText, []byte("hello")))
	_, data, err := socket.Read(ctx)
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))
	_, _, err = socket.Read(ctx)
	require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(err))
	require.Eventually(t, func() bool { return strings.Contains(logs.String(), `"status":101`) }, 5*time.Second, 5*time.Millisecond)
}

func TestServerReportsBrokenRequestsQuietly(t *testing.T) {
	addr, _ := start(t, false, http.NewServeMux())
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Big: "+strings.Repeat("x", 64<<10)+"\r\n\r\n")
	require.NoError(t, err)
	status, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, status, "431")
}
