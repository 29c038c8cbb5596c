package api

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/wardline/wardline/core/discovery"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// KV is where plans of requests with an idempotency key are kept; discovery.KV is one.
type KV interface {
	// Get reads a key; discovery.ErrNotFound if it does not exist.
	Get(ctx context.Context, key string) (discovery.Entry, error)
	// CompareAndSet writes if the key's index is still the given one (0: if it does not exist),
	// otherwise discovery.ErrConflict.
	CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (discovery.Entry, error)
	// Delete removes a key if its index is still the given one.
	Delete(ctx context.Context, key string, index uint64) error
	// List returns the entries whose keys start with prefix.
	List(ctx context.Context, prefix string) ([]discovery.Entry, error)
}

const (
	planPrefix = "wardline/idempotency/"
	// planLife is for how long an idempotency key is remembered.
	planLife = 24 * time.Hour
	// SweepEvery is how often Sweep is to be called.
	SweepEvery = time.Hour
	maxKeyLen  = 255
	// maxAttempts bounds the races for one key; each lost one means that another request decided.
	maxAttempts = 5
)

// plan is everything a request decides by chance or by the clock. Carrying out the same plan again gives
// the same encounter and, Ed25519 signatures being deterministic, the same links; so the plan is what is
// remembered, and no token is.
type plan struct {
	// Request recognizes the request: an HMAC under the idempotency key, so that what a body says
	// about people cannot be guessed from what is stored.
	Request   string    `json:"request"`
	Created   time.Time `json:"created"`
	Encounter string    `json:"encounter"`
	// Participants and TokenIDs are in the order of the request's participants.
	Participants []string `json:"participants"`
	TokenIDs     []string `json:"token_ids"`
}

// repeatable reports whether the request came with an idempotency key, so that the plan may be carried out twice.
func (p plan) repeatable() bool { return p.Request != "" }

// newPlan decides for a request; given ids are kept.
func newPlan(encounterID string, people []person, now time.Time) plan {
	p := plan{Created: now.UTC().Round(0), Encounter: encounterID}
	if p.Encounter == "" {
		p.Encounter = randomID()
	}
	for _, one := range people {
		id := one.ID
		if id == "" {
			id = randomID()
		}
		p.Participants = append(p.Participants, id)
		p.TokenIDs = append(p.TokenIDs, randomID())
	}
	return p
}

// randomID returns 26 characters with at least 128 bits of randomness, safe in a URL and valid as an id.
func randomID() string { return strings.ToLower(rand.Text()) }

// settle returns the plan to carry out: the fresh one, or the one an earlier request with the same
// Idempotency-Key header was carried out by. body is the parsed request.
func (h *Handler) settle(r *http.Request, tenant string, body any, fresh plan) (plan, error) {
	idempotencyKey, err := keyOf(r.Header)
	if err != nil || idempotencyKey == "" {
		return fresh, err
	}
	if fresh.Request, err = recognize(idempotencyKey, r, body); err != nil {
		return plan{}, err
	}
	path := planPath(tenant, idempotencyKey)
	for range maxAttempts {
		settled, err := h.tryPlan(r.Context(), tenant, path, fresh)
		if errors.Is(err, discovery.ErrConflict) {
			continue
		}
		return settled, err
	}
	return plan{}, fmt.Errorf("idempotency record: %w", discovery.ErrUnavailable)
}

func (h *Handler) tryPlan(ctx context.Context, tenant, path string, fresh plan) (plan, error) {
	entry, err := h.config.KV.Get(ctx, path)
	first := errors.Is(err, discovery.ErrNotFound)
	if err != nil && !first {
		return plan{}, fmt.Errorf("read idempotency record: %w", err)
	}
	if first {
		if err := h.room(tenant); err != nil {
			return plan{}, err
		}
	} else {
		earlier, current := parsePlan(entry.Value, fresh.Created)
		switch {
		case current && earlier.Request == fresh.Request:
			return earlier, nil
		case current:
			return plan{}, problem.New(http.StatusUnprocessableEntity, problem.IdempotencyReused,
				"the Idempotency-Key was used for another request within the last "+planLife.String())
		}
	}
	value, err := json.Marshal(fresh)
	if err != nil {
		return plan{}, fmt.Errorf("encode idempotency record: %w", err)
	}
	if _, err := h.config.KV.CompareAndSet(ctx, path, value, entry.Index); err != nil {
		return plan{}, fmt.Errorf("write idempotency record: %w", err)
	}
	if first {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.plans[tenant]++
	}
	return fresh, nil
}

// room refuses a tenant's next key where so many are remembered that the tenant could fill the store.
func (h *Handler) room(tenant string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if held := h.plans[tenant]; held >= h.config.MaxKeys {
		return problem.TooSoon(fmt.Sprintf("%d idempotency keys within %s, at most %d; without one the request is taken",
			held, planLife, h.config.MaxKeys), SweepEvery)
	}
	return nil
}

// parsePlan reads a stored plan; current is false for one that is too old or unreadable.
func parsePlan(value []byte, now time.Time) (p plan, current bool) {
	if err := json.Unmarshal(value, &p); err != nil {
		return plan{}, false
	}
	return p, now.Sub(p.Created) < planLife
}

func keyOf(header http.Header) (string, error) {
	values := header.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	visible := func(c rune) bool { return c >= ' ' && c <= '~' }
	if len(values) > 1 || key == "" || len(key) > maxKeyLen || strings.ContainsFunc(key, func(c rune) bool { return !visible(c) }) {
		return "", problem.New(http.StatusBadRequest, problem.Invalid,
			fmt.Sprintf("Idempotency-Key: must be one value of 1 to %d visible ASCII characters", maxKeyLen))
	}
	return key, nil
}

// recognize identifies method, path and meaning of a request; spelling (white space, order) is left out.
func recognize(idempotencyKey string, r *http.Request, body any) (string, error) {
	meaning, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode request: %w", err)
	}
	mac := hmac.New(sha256.New, []byte(idempotencyKey))
	fmt.Fprintf(mac, "%s %s\n", r.Method, r.URL.Path)
	mac.Write(meaning)
	return hex.EncodeToString(mac.Sum(nil)), nil
}

func planPath(tenant, idempotencyKey string) string {
	sum := sha256.Sum256([]byte(idempotencyKey))
	return planPrefix + tenant + "/" + hex.EncodeToString(sum[:])
}

// Sweep removes the records of idempotency keys that have had their day. Any number of gateways may do it at once.
func (h *Handler) Sweep(ctx context.Context) {
	if err := h.removeOld(ctx); err != nil && ctx.Err() == nil {
		h.config.Log.Warn().Err(err).Msg("old idempotency keys not removed, will try again")
	}
}

func (h *Handler) removeOld(ctx context.Context) error {
	entries, err := h.config.KV.List(ctx, planPrefix)
	if err != nil {
		return fmt.Errorf("list idempotency records: %w", err)
	}
	now, plans := h.config.Now(), make(map[string]int)
	for _, entry := range entries {
		if _, current := parsePlan(entry.Value, now); current {
			tenant, _, _ := strings.Cut(strings.TrimPrefix(entry.Key, planPrefix), "/")
			plans[tenant]++
			continue
		}
		// A conflict means that the key has just been used anew.
		if err := h.config.KV.Delete(ctx, entry.Key, entry.Index); err != nil && !errors.Is(err, discovery.ErrConflict) {
			return fmt.Errorf("delete idempotency record: %w", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.plans = plans
	return nil
}
