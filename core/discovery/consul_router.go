package discovery

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// consulTransport sends a request the best way to the datacenter that it names, with that datacenter's token.
type consulTransport struct {
	base   agentBase
	tokens ConsulTokens
	// own reaches this node's agent, others every other agent.
	own, others http.RoundTripper

	self func(ctx context.Context) (node, datacenter string, err error)
	// logins are nil if tokens are good everywhere.
	logins *consulLogins
	// routes are nil if other datacenters are only reached through this node's agent.
	routes *consulRoutes
	// hedge is how long a question waits for an answer before another way is tried too, and connect how long
	// what must not be asked twice waits for a connection.
	hedge, connect time.Duration
}

type tokenKey struct{}

// withToken has requests carry this token, or none if it is empty.
func withToken(ctx context.Context, token string) context.Context {
	return context.WithValue(ctx, tokenKey{}, token)
}

// RoundTrip implements http.RoundTripper. A token that the datacenter no longer knows is replaced once.
func (t *consulTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		defer func() { _ = r.Body.Close() }()
	}
	other, err := t.otherDatacenter(r)
	if err != nil {
		return nil, err
	}
	response, token, err := t.authorized(r, other)
	if err != nil || response.StatusCode != http.StatusForbidden || !t.byLogin(other) || token == "" {
		return response, err
	}
	if r.Context().Value(tokenKey{}) != nil || r.Body != nil && r.GetBody == nil ||
		!t.logins.refused(other, token, saysUnknown(response)) {
		return response, nil
	}
	again, _, err := t.authorized(r, other)
	if err != nil {
		return response, nil // which tells more
	}
	_ = response.Body.Close()
	return again, nil
}

// saysUnknown reports whether Consul refused a token because it does not know it.
func saysUnknown(response *http.Response) bool {
	start, _ := io.ReadAll(io.LimitReader(response.Body, 1<<10))
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(start), response.Body), response.Body}
	return strings.Contains(string(start), "ACL not found")
}

// otherDatacenter returns the datacenter that a request names, or "" if it is the own.
func (t *consulTransport) otherDatacenter(r *http.Request) (string, error) {
	datacenter := r.URL.Query().Get("dc")
	if datacenter == "" || t.logins == nil && t.routes == nil {
		return "", nil
	}
	_, own, err := t.self(r.Context())
	if err != nil || datacenter == own {
		return "", err
	}
	return datacenter, nil
}

// authorized sends a request with the token that it needs, which it returns.
func (t *consulTransport) authorized(r *http.Request, other string) (*http.Response, string, error) {
	token, err := t.token(r, other)
	if err != nil {
		return nil, "", err
	}
	sent := r.Clone(r.Context())
	sent.Header.Del("X-Consul-Token")
	if token != "" {
		sent.Header.Set("X-Consul-Token", token)
	}
	if r.GetBody != nil {
		if sent.Body, err = r.GetBody(); err != nil {
			return nil, "", err
		}
	}
	response, err := t.routed(sent, other)
	return response, token, err
}

func (t *consulTransport) token(r *http.Request, other string) (string, error) {
	if token, given := r.Context().Value(tokenKey{}).(string); given {
		return token, nil
	}
	if t.byLogin(other) {
		return t.logins.token(r.Context(), other)
	}
	if t.tokens == nil {
		return "", nil
	}
	return t.tokens.Token(r.URL.Query().Get("dc"))
}

// byLogin reports whether the token for a datacenter, "" being the own, comes from a login.
func (t *consulTransport) byLogin(other string) bool {
	return t.logins != nil && (other != "" || t.tokens == nil)
}

// routed sends a request one or several ways.
func (t *consulTransport) routed(r *http.Request, other string) (*http.Response, error) {
	switch {
	case r.URL.Host != t.base.host: // a particular agent is meant
		return t.others.RoundTrip(r)
	case other == "" || t.routes == nil || r.Body != nil && r.GetBody == nil:
		return t.own.RoundTrip(r)
	}
	ways := t.routes.to(other)
	if len(ways) > 1 && repeatable(r) && !blocking(r) {
		return t.race(r, other, ways)
	}
	return t.inTurn(r, other, ways)
}

// repeatable reports whether it does no harm to ask twice.
func repeatable(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.URL.Path == authorizePath
}

// blocking reports whether a request is answered late on purpose.
func blocking(r *http.Request) bool {
	index := r.URL.Query().Get("index")
	return index != "" && index != "0"
}

// result is what came of sending a request one way.
type result struct {
	way       string
	response  *http.Response
	err       error
	connected bool // so that the request may have been read
}

// answered reports whether the datacenter itself answered, and not a server that cannot reach it or its leader.
func (o result) answered() bool {
	return o.err == nil && o.response.StatusCode < http.StatusInternalServerError
}

func (o result) discard() {
	if o.response != nil {
		_ = o.response.Body.Close()
	}
}

// inTurn goes on to the next way while none has been connected, or if asking twice does no harm.
func (t *consulTransport) inTurn(r *http.Request, datacenter string, ways []string) (*http.Response, error) {
	for i, way := range ways {
		last, limit := i == len(ways)-1, t.connect
		if last || blocking(r) { // who waits for news does not hurry away from the best way
			limit = 0
		}
		got := t.begin(r, way).run(limit)
		if got.answered() {
			if !blocking(r) { // which was sent when another way may have been the best
				t.routes.worked(datacenter, way)
			}
			return got.response, nil
		}
		if !errors.Is(r.Context().Err(), context.Canceled) {
			t.routes.failed(datacenter, way)
		}
		// Who waits for news asks again, and then starts with the best way, rather than wait on a worse one.
		if last || r.Context().Err() != nil || got.connected && (!repeatable(r) || blocking(r)) {
			return got.response, got.err
		}
		got.discard()
	}
	return nil, errors.ErrUnsupported // there is always a way
}

// race asks one way after the other without waiting long, and takes the first answer.
func (t *consulTransport) race(r *http.Request, datacenter string, ways []string) (*http.Response, error) {
	attempts := make([]*attempt, 0, len(ways))
	results := make(chan result, len(ways))
	var group sync.WaitGroup
	send := func() {
		one := t.begin(r, ways[len(attempts)])
		attempts = append(attempts, one)
		group.Go(func() { results <- one.run(0) })
	}
	send()
	next := time.NewTicker(t.hedge)
	defer next.Stop()
	for running := 1; ; {
		select {
		case got := <-results:
			running--
			more := len(attempts) < len(ways) && r.Context().Err() == nil
			if got.answered() || running == 0 && !more {
				t.note(r, datacenter, got)
				endOthers(attempts, got.way, &group, results)
				return got.response, got.err
			}
			t.note(r, datacenter, got)
			got.discard()
			if more {
				send()
				running++
			}
		case <-next.C:
			if len(attempts) < len(ways) {
				send()
				running++
			}
		}
	}
}

// note remembers how a way did.
func (t *consulTransport) note(r *http.Request, datacenter string, got result) {
	switch {
	case got.answered():
		t.routes.worked(datacenter, got.way)
	case r.Context().Err() == nil:
		t.routes.failed(datacenter, got.way)
	}
}

// endOthers waits for the attempts that lost.
func endOthers(attempts []*attempt, winner string, group *sync.WaitGroup, results chan result) {
	for _, one := range attempts {
		if one.way != winner {
			one.stop()
		}
	}
	group.Wait()
	close(results)
	for late := range results {
		late.discard()
	}
}

// attempt is a request on one way.
type attempt struct {
	way       string
	transport http.RoundTripper
	request   *http.Request
	stop      context.CancelFunc
	connected atomic.Bool
	err       error
}

func (t *consulTransport) begin(r *http.Request, way string) *attempt {
	one := &attempt{way: way, transport: t.own}
	ctx, stop := context.WithCancel(r.Context())
	one.stop = stop
	one.request = r.Clone(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { one.connected.Store(true) },
	}))
	if r.GetBody != nil {
		one.request.Body, one.err = r.GetBody()
	}
	if way != ownAgent {
		one.transport = t.others
		one.request.URL.Host, one.request.Host = way, way
	}
	return one
}

// run gives up after the limit, if there is one, unless a connection has been made.
func (a *attempt) run(limit time.Duration) result {
	if a.err != nil {
		a.stop()
		return result{way: a.way, err: a.err}
	}
	if limit > 0 {
		timer := time.AfterFunc(limit, func() {
			if !a.connected.Load() {
				a.stop()
			}
		})
		defer timer.Stop()
	}
	response, err := a.transport.RoundTrip(a.request) //nolint:bodyclose // who takes the result closes it
	if err != nil {
		a.stop()
		return result{way: a.way, err: err, connected: a.connected.Load()}
	}
	response.Body = &endingBody{response.Body, a.stop}
	return result{way: a.way, response: response, connected: true}
}

// endingBody frees what its request held.
type endingBody struct {
	io.ReadCloser
	stop context.CancelFunc
}

// Close implements io.Closer.
func (b *endingBody) Close() error {
	defer b.stop()
	return b.ReadCloser.Close()
}
