package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// link is a participant's way into the encounter.
type link struct {
	ID   string      `json:"id"`
	Role access.Role `json:"role"`
	// JoinURL carries the join token in its fragment, which browsers do not send.
	JoinURL string    `json:"join_url"`
	Expires time.Time `json:"expires"`
}

// created is the answer to POST /v1/encounters.
type created struct {
	ID           string    `json:"id"`
	Created      time.Time `json:"created"`
	Regions      []string  `json:"regions"`
	E2EE         bool      `json:"e2ee"`
	Participants []link    `json:"participants"`
}

// view is the answer to GET /v1/encounters/{id}.
type view struct {
	ID        string               `json:"id"`
	State     string               `json:"state"`
	Created   time.Time            `json:"created"`
	Ended     time.Time            `json:"ended,omitzero"`
	Locked    bool                 `json:"locked"`
	E2EE      bool                 `json:"e2ee"`
	Regions   []string             `json:"regions"`
	Placement *encounter.Placement `json:"placement,omitempty"`
	// Participants are those who have joined, not everybody who has a link.
	Participants []presence `json:"participants"`
}

// presence is one participant of a view.
type presence struct {
	ID        string          `json:"id"`
	Role      access.Role     `json:"role"`
	State     encounter.State `json:"state"`
	Connected bool            `json:"connected"`
}

// create answers POST /v1/encounters.
func (h *Handler) create(w http.ResponseWriter, r *http.Request) error {
	tenant, err := h.tenant(r)
	if err != nil {
		return err
	}
	var body creation
	if err := read(w, r, &body); err != nil {
		return err
	}
	if err := body.validate(); err != nil {
		return err
	}
	// Each link is a signature, which all tenants have made by the same keeper; the request was paid for already.
	if err := h.pace(Caller{Tenant: tenant}, len(body.Participants)-1); err != nil {
		return err
	}
	p, err := h.settle(r, tenant, body, newPlan(body.ID, body.Participants, h.config.Now()))
	if err != nil {
		return err
	}
	e := encounter.Encounter{
		Key: encounter.Key{Tenant: tenant, ID: p.Encounter}, Created: p.Created, Regions: body.Regions, E2EE: body.E2EE,
	}
	// The links first: an encounter whose links could not be signed would be in the way of the next attempt.
	links, err := h.links(r.Context(), e, body.Participants, p, ttl(body.TTLSeconds))
	if err != nil {
		return err
	}
	if err := h.ensure(r.Context(), e, p.repeatable()); err != nil {
		return err
	}
	h.config.Log.Info().Str("tenant", tenant).Str("encounter", e.ID).Int("links", len(links)).Msg("encounter created")
	w.Header().Set("Location", "/v1/encounters/"+e.ID)
	return respond(w, http.StatusCreated, created{
		ID: e.ID, Created: e.Created, Regions: list(e.Regions), E2EE: e.E2EE, Participants: links,
	})
}

// ensure creates the encounter of a plan. If the plan is repeatable, one made at the plan's very instant, in
// nanoseconds, is the work of an earlier request that carried it out.
func (h *Handler) ensure(ctx context.Context, e encounter.Encounter, repeatable bool) error {
	_, err := h.config.Store.CompareAndSet(ctx, e)
	if !errors.Is(err, encounter.ErrConflict) {
		return err
	}
	there, err := h.config.Store.Get(ctx, e.Key)
	if err != nil {
		return err
	}
	if repeatable && there.Created.Equal(e.Created) {
		return nil
	}
	return problem.New(http.StatusConflict, problem.EncounterExists, "an encounter with this id exists already")
}

// get answers GET /v1/encounters/{id}.
func (h *Handler) get(w http.ResponseWriter, r *http.Request) error {
	e, err := h.find(r)
	if err != nil {
		return err
	}
	return respond(w, http.StatusOK, viewOf(e))
}

// end answers DELETE /v1/encounters/{id}; ending an ended encounter changes nothing.
func (h *Handler) end(w http.ResponseWriter, r *http.Request) error {
	e, err := h.find(r)
	if err != nil {
		return err
	}
	if e.Ended.IsZero() {
		now := h.config.Now()
		_, err := encounter.Change(r.Context(), h.config.Store, e.Key, func(e *encounter.Encounter) error {
			if e.Ended.IsZero() {
				e.End(now)
			}
			return nil
		})
		if err != nil {
			return err
		}
		h.config.Log.Info().Str("tenant", e.Tenant).Str("encounter", e.ID).Msg("encounter ended by its tenant")
		if h.config.Ended != nil {
			h.config.Ended(e.Key)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// add answers POST /v1/encounters/{id}/participants.
func (h *Handler) add(w http.ResponseWriter, r *http.Request) error {
	e, err := h.find(r)
	if err != nil {
		return err
	}
	var body addition
	if err := read(w, r, &body); err != nil {
		return err
	}
	if err := body.validate(); err != nil {
		return err
	}
	if !e.Ended.IsZero() {
		return encounter.ErrEnded
	}
	people := []person{body.person}
	p, err := h.settle(r, e.Tenant, body, newPlan(e.ID, people, h.config.Now()))
	if err != nil {
		return err
	}
	if e.Participants[p.Participants[0]].State == encounter.Removed {
		return encounter.ErrRemoved
	}
	links, err := h.links(r.Context(), e, people, p, ttl(body.TTLSeconds))
	if err != nil {
		return err
	}
	return respond(w, http.StatusCreated, links[0])
}

// quality answers GET /v1/encounters/{id}/quality.
func (h *Handler) quality(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	tenant, participant, err := h.reader(r, id)
	if err != nil {
		return err
	}
	e, err := h.lookUp(r.Context(), tenant, id)
	if err != nil {
		return err
	}
	if e.Participants[participant].State == encounter.Removed {
		return encounter.ErrRemoved
	}
	return respond(w, http.StatusOK, h.config.Quality.Timeline(e.Key))
}

// find returns the encounter of the path if it is the tenant's: another tenant's does not exist for them.
func (h *Handler) find(r *http.Request) (encounter.Encounter, error) {
	tenant, err := h.tenant(r)
	if err != nil {
		return encounter.Encounter{}, err
	}
	return h.lookUp(r.Context(), tenant, r.PathValue("id"))
}

func (h *Handler) lookUp(ctx context.Context, tenant, id string) (encounter.Encounter, error) {
	if !signaling.ValidID(id) {
		return encounter.Encounter{}, encounter.ErrNotFound
	}
	return h.config.Store.Get(ctx, encounter.Key{Tenant: tenant, ID: id})
}

// links mints the join links of a plan.
func (h *Handler) links(ctx context.Context, e encounter.Encounter, people []person, p plan, life time.Duration) ([]link, error) {
	// Tokens count in whole seconds.
	from := p.Created.Truncate(time.Second)
	expires := from.Add(life)
	links := make([]link, 0, len(people))
	for i, one := range people {
		token, err := access.Mint(ctx, h.config.Signer, access.Grant{
			Tenant: e.Tenant, Encounter: e.ID, Participant: p.Participants[i], Role: one.Role, Name: one.Name,
			Regions: e.Regions, E2EE: e.E2EE, TokenID: p.TokenIDs[i], Expires: expires,
		}, from, from)
		if refusal, ok := errors.AsType[*access.Refusal](err); ok {
			// What tokens may hold is decided there; here it is the request that is wrong, not a token of its sender.
			return nil, invalid("participants[%d]: %s", i, refusal.Detail)
		}
		if err != nil {
			return nil, err
		}
		links = append(links, link{
			ID: p.Participants[i], Role: one.Role, JoinURL: h.config.BaseURL + "/visit#" + token, Expires: expires,
		})
	}
	return links, nil
}

func viewOf(e encounter.Encounter) view {
	v := view{
		ID: e.ID, State: "open", Created: e.Created, Ended: e.Ended, Locked: e.Locked, E2EE: e.E2EE,
		Regions: list(e.Regions), Participants: make([]presence, 0, len(e.Participants)),
	}
	if !e.Ended.IsZero() {
		v.State = "ended"
	}
	if e.Placement.Placed() {
		v.Placement = &e.Placement
	}
	for id, p := range e.Participants {
		// The record of an ended encounter keeps the sessions there were at its end.
		here := !e.HasEnded() && connected(p)
		v.Participants = append(v.Participants, presence{ID: id, Role: p.Role, State: p.State, Connected: here})
	}
	slices.SortFunc(v.Participants, func(a, b presence) int { return strings.Compare(a.ID, b.ID) })
	return v
}

// connected reports whether any of a participant's sessions is there and not lost.
func connected(p encounter.Participant) bool {
	for _, session := range p.Sessions {
		if session.Lost.IsZero() {
			return true
		}
	}
	return false
}

// list makes "no regions" an empty array on the wire instead of null.
func list(regions []string) []string {
	return append([]string{}, regions...)
}

func respond(w http.ResponseWriter, status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode response: %w", err)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	// A client that is gone asks again.
	_, _ = w.Write(body)
	return nil
}
