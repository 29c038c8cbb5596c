package discovery

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzConsulAnswers has an agent answer anything to everything: errors, no panics.
func FuzzConsulAnswers(f *testing.F) {
	for _, body := range []string{
		"", "null", "[null]", "{}", "true", `{"":null}`, `[{"Key":"key","Value":"AA==","ModifyIndex":3}]`, `["eu",""]`,
		`{"Config":{"NodeName":"n","Datacenter":"eu"}}`, `{"Results":[null],"Errors":[null]}`, `{"Results":[{"KV":null}]}`,
		`[{"Node":{},"Service":{"Meta":{"region":"x"}},"Checks":[null,{"CheckID":"_node_maintenance"}]}]`,
		`{"Node":null}`, `{"ID":"s"}`, `"leader"`,
	} {
		f.Add(http.StatusOK, "7", body)
		f.Add(http.StatusConflict, "", body)
		f.Add(http.StatusNotFound, "x", body)
	}
	f.Fuzz(func(t *testing.T, status int, index, body string) {
		pace := fakePace
		pace.pulse = time.Hour // the agent is replaced below
		c, err := newConsul(ConsulConfig{Address: "http://agent:1"}, pace)
		require.NoError(t, err)
		c.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			return &http.Response{
				StatusCode: status, Request: r, Body: io.NopCloser(strings.NewReader(body)),
				Header: http.Header{"X-Consul-Index": {index}, "X-Consul-Default-Acl-Policy": {"deny"}},
			}, nil
		})
		ctx := t.Context()
		c.self = consulSelf{"agent-1", "eu"}
		s := Service{Name: SFUService, ID: "sfu-1", Node: "n", Region: "eu"}
		var errs []error
		note := func(err error) { errs = append(errs, err) }
		_, err = c.Get(ctx, "key")
		note(err)
		_, err = c.CompareAndSet(ctx, "key", nil, 1)
		note(err)
		_, err = c.List(ctx, "")
		note(err)
		_, err = c.Services(ctx, SFUService)
		note(err)
		_, err = c.AgentMaintenance(ctx)
		note(err)
		note(c.Delete(ctx, "key", 1))
		note(c.Register(ctx, s))
		note(c.Deregister(ctx, s.Name, s.ID))
		note(c.SetMaintenance(ctx, "n", true, ""))
		note(c.Ready(ctx))
		_, err = (&consulLock{c: c, key: "k"}).try(ctx)
		note(err)
		c.self = consulSelf{}
		_, _, err = c.Self(ctx)
		note(err)
		for i, err := range errs {
			known := err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrNotFound) ||
				errors.Is(err, ErrConflict) || errors.Is(err, errHeld)
			require.True(t, known, "call %d: %v", i, err)
		}
		require.NoError(t, c.Close())
	})
}

// handlerTransport has a handler answer without a network.
type handlerTransport struct{ http.Handler }

func (h handlerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	return recorder.Result(), nil
}
