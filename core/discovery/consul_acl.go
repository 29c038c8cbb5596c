package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/hashicorp/consul/api"
)

// maxAnswerBytes bounds what is read of an answer that has to be short.
const maxAnswerBytes = 64 << 10

// authorizePath is Consul's endpoint that says what a token allows.
const authorizePath = "/v1/internal/acl/authorize"

// complete refuses a list from which the servers left out what the token may not see: it would look as if all that
// were gone. Consul does not say so where it takes the request for an anonymous one, as it does when it forwards a local
// token to another datacenter, so an empty list under default-deny is asked about.
func (c *Consul) complete(resource, segment string, empty bool, options *api.QueryOptions, meta *api.QueryMeta) error {
	if meta.ResultsFilteredByACLs {
		return fmt.Errorf("%s %s: the token may not see all of it", resource, segment)
	}
	if !empty || meta.DefaultACLPolicy != "deny" {
		return nil
	}
	allowed, err := c.mayRead(options.Context(), options.Datacenter, resource, segment)
	if err == nil && !allowed {
		err = fmt.Errorf("the token may not read %s %s", resource, segment)
	}
	return err
}

// permission is a question to Consul about the token of the request, and its answer.
type permission struct {
	Resource string
	Segment  string
	Access   string
	Allow    bool `json:",omitempty"`
}

// mayRead asks what the token of a datacenter allows there; the library has no call for it.
func (c *Consul) mayRead(ctx context.Context, datacenter, resource, segment string) (bool, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	question, err := json.Marshal([]permission{{Resource: resource, Segment: segment, Access: "read"}})
	if err != nil {
		return false, err
	}
	target := c.base.local()
	target.Path = authorizePath
	if datacenter != "" {
		target.RawQuery = url.Values{"dc": {datacenter}}.Encode()
	}
	answer, err := c.send(ctx, http.MethodPost, target, question)
	if err != nil {
		return false, err
	}
	var permissions []permission
	if err := json.Unmarshal(answer, &permissions); err != nil || len(permissions) != 1 {
		return false, fmt.Errorf("permission to read %s %s: unexpected answer", resource, segment)
	}
	return permissions[0].Allow, nil
}

// send makes a request for which the library has no call that takes a context.
func (c *Consul) send(ctx context.Context, method string, target url.URL, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err == nil && response.StatusCode != http.StatusOK {
		err = api.StatusError{Code: response.StatusCode, Body: string(answer)}
	}
	return answer, err
}
