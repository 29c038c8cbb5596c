// Package tenant creates the visits of a drill as a tenant's application does: through POST /v1/encounters.
package tenant

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/edge/drill"
	"github.com/wardline/wardline/edge/drill/scenario"
)

// ErrRefused says that no gateway did as asked; the text says what each answered.
var ErrRefused = errors.New("no gateway did as asked")

// Limits of one request.
const (
	timeout    = 5 * time.Second
	maxAnswer  = 1 << 20
	tokenTTL   = 5 * time.Minute
	idPrefix   = "drill-"
	idAlphabet = 12
)

// Tenant implements drill.Visits. Safe for concurrent use.
type Tenant struct {
	name, keyID string
	key         ed25519.PrivateKey
	http        *http.Client
}

// New signs as a tenant with one of its registered keys. trusted may be nil for the system's authorities.
func New(name, keyID string, key ed25519.PrivateKey, trusted *tls.Config) *Tenant {
	return &Tenant{name: name, keyID: keyID, key: key, http: &http.Client{
		Timeout:   timeout,
		Transport: &http.Transport{TLSClientConfig: trusted, DisableKeepAlives: true},
	}}
}

// The bodies of the API, see docs/openapi.yaml.
type (
	newEncounter struct {
		ID           string        `json:"id"`
		Regions      []string      `json:"regions,omitempty"`
		Participants []participant `json:"participants"`
	}
	participant struct {
		ID   string `json:"id"`
		Role string `json:"role"`
	}
	createdEncounter struct {
		Participants []struct {
			ID      string `json:"id"`
			JoinURL string `json:"join_url"`
		} `json:"participants"`
	}
)

// Create implements drill.Visits. The visit's id begins with "drill-", so that operators see what it is.
func (t *Tenant) Create(ctx context.Context, gateways []string, visit scenario.Visit) (drill.Created, error) {
	body := newEncounter{ID: idPrefix + strings.ToLower(rand.Text()[:idAlphabet]), Regions: visit.Regions}
	for _, p := range visit.Participants {
		body.Participants = append(body.Participants, participant{p.Name, string(p.Role)})
	}
	text, err := json.Marshal(body)
	if err != nil {
		return drill.Created{}, fmt.Errorf("create a visit: %w", err)
	}
	var answer createdEncounter
	err = t.anyOf(ctx, gateways, http.MethodPost, "/v1/encounters", text, func(answered []byte) error {
		return json.Unmarshal(answered, &answer)
	})
	if err != nil {
		return drill.Created{}, err
	}
	created := drill.Created{ID: body.ID, Tokens: map[string]string{}}
	for _, p := range answer.Participants {
		_, token, ok := strings.Cut(p.JoinURL, "#")
		if !ok {
			return drill.Created{}, fmt.Errorf("%w: the join link of %s has no token", ErrRefused, p.ID)
		}
		created.Tokens[p.ID] = token
	}
	for _, p := range visit.Participants {
		if created.Tokens[p.Name] == "" {
			return drill.Created{}, fmt.Errorf("%w: the answer has no join link for %s", ErrRefused, p.Name)
		}
	}
	return created, nil
}

// End implements drill.Visits.
func (t *Tenant) End(ctx context.Context, gateways []string, id string) error {
	return t.anyOf(ctx, gateways, http.MethodDelete, "/v1/encounters/"+url.PathEscape(id), nil, nil)
}

// anyOf asks one gateway after the other until one does as asked, or refuses for a reason that others share.
func (t *Tenant) anyOf(ctx context.Context, gateways []string, method, path string, body []byte, read func([]byte) error) error {
	if len(gateways) == 0 {
		return fmt.Errorf("%w: none is known", ErrRefused)
	}
	problems := []error{ErrRefused}
	for _, gateway := range gateways {
		again, err := t.ask(ctx, strings.TrimSuffix(gateway, "/")+path, method, body, read)
		if err == nil {
			return nil
		}
		problems = append(problems, fmt.Errorf("%s: %w", gateway, err))
		if !again || ctx.Err() != nil {
			break
		}
	}
	return errors.Join(problems...)
}

// ask makes one request; again says that another gateway may answer better.
func (t *Tenant) ask(ctx context.Context, url, method string, body []byte, read func([]byte) error) (again bool, err error) {
	token, err := access.MintAPI(t.key, t.keyID, t.name, time.Now(), tokenTTL)
	if err != nil {
		return false, err
	}
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return false, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := t.http.Do(request)
	if err != nil {
		return true, err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return true, err
	}
	switch {
	case response.StatusCode < http.StatusMultipleChoices && read != nil:
		return false, read(answer)
	case response.StatusCode < http.StatusMultipleChoices, method == http.MethodDelete && response.StatusCode == http.StatusNotFound:
		return false, nil
	}
	again = response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusTooManyRequests
	return again, refusal(response.Status, answer)
}

// refusal reads a problem document (RFC 9457).
func refusal(status string, answer []byte) error {
	var problem struct {
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(answer, &problem) != nil || problem.Code == "" {
		return errors.New(status)
	}
	return fmt.Errorf("%s: %s: %s", status, problem.Code, problem.Detail)
}
