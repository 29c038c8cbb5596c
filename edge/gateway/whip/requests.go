package whip

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/encounter"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// resource names one session as a request's path and token do.
type resource struct {
	key         encounter.Key
	participant string
	session     string
	kind        encounter.SessionKind
}

// open answers a POST: a new session.
func (h *Handler) open(w http.ResponseWriter, r *http.Request, kind signaling.SessionKind) error {
	grant, err := h.authorize(r, h.Verifier.Join)
	if err != nil {
		return err
	}
	if err := permit(grant.Role, kind); err != nil {
		return err
	}
	target := r.PathValue("participant")
	if target != "" && !signaling.ValidID(target) {
		return problem.Of(encounter.ErrUnknownParticipant)
	}
	if !accepts(r.Header, sdpType) {
		return problem.New(http.StatusNotAcceptable, problem.NotAcceptable, "the answer is "+sdpType)
	}
	offer, err := body(w, r, sdpType, signaling.MaxSDPBytes)
	if err != nil {
		return err
	}
	if err := CheckOffer(kind, offer); err != nil {
		return err
	}
	opened, err := h.Sessions.Open(r.Context(), grant, kind, target, offer)
	if err != nil {
		return err
	}
	h.Log.Info().Str("tenant", grant.Tenant).Str("encounter", grant.Encounter).Str("participant", grant.Participant).
		Str("session", opened.ID).Str("kind", string(kind)).Msg("session opened")
	header := w.Header()
	header.Set("Content-Type", sdpType)
	header.Set("Location", location(kind, grant.Encounter, opened.ID))
	header.Set("ETag", etag(opened.ID, 0))
	header.Set("Accept-Patch", fragmentType)
	header.Set("Cache-Control", "no-store")
	key := encounter.Key{Tenant: grant.Tenant, ID: grant.Encounter}
	for _, link := range iceLinks(h.Sessions.ICEServers(key, grant.Participant, opened.ID)) {
		header.Add("Link", link)
	}
	w.WriteHeader(http.StatusCreated)
	// A client that is gone by now leaves a session whose ICE will never connect: the media server ends it.
	_, _ = io.WriteString(w, opened.AnswerSDP)
	return nil
}

// patch answers a PATCH: trickled candidates, or an ICE restart with If-Match: *.
func (h *Handler) patch(w http.ResponseWriter, r *http.Request, kind encounter.SessionKind) error {
	k, session, err := h.own(r, kind)
	if err != nil {
		return err
	}
	wanted, ok := ifMatch(r.Header)
	if !ok {
		return problem.New(http.StatusPreconditionRequired, problem.PreconditionRequired,
			"If-Match is required: the session's ETag to trickle, * to restart ICE")
	}
	text, err := body(w, r, fragmentType, MaxFragmentBytes)
	if err != nil {
		return err
	}
	fragment, err := ParseFragment(text)
	if err != nil {
		return err
	}
	if wanted.any {
		return h.restart(w, r, k, text, fragment)
	}
	current := etag(k.session, session.Restarts)
	if err := checkMatch(wanted, current); err != nil {
		return err
	}
	if err := h.Sessions.Trickle(r.Context(), k.key, k.participant, k.session, fragment.Candidates); err != nil {
		return err
	}
	w.Header().Set("ETag", current)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (h *Handler) restart(w http.ResponseWriter, r *http.Request, k resource, text string, f Fragment) error {
	if f.Ufrag == "" || f.Pwd == "" {
		return fmt.Errorf("%w: an ICE restart needs ice-ufrag and ice-pwd", ErrUnusableOffer)
	}
	answer, err := h.Sessions.Restart(r.Context(), k.key, k.participant, k.session, text)
	if err != nil {
		return err
	}
	tag, err := h.restarted(r.Context(), k)
	if err != nil {
		return err
	}
	header := w.Header()
	header.Set("Content-Type", fragmentType)
	header.Set("ETag", tag)
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	// A client that did not hear the answer restarts once more.
	_, _ = io.WriteString(w, answer) //nolint:gosec // nosniff, and a media type no browser renders
	return nil
}

// end answers a DELETE.
func (h *Handler) end(w http.ResponseWriter, r *http.Request, kind encounter.SessionKind) error {
	k, session, err := h.own(r, kind)
	if err != nil {
		return err
	}
	if wanted, ok := ifMatch(r.Header); ok {
		if err := checkMatch(wanted, etag(k.session, session.Restarts)); err != nil {
			return err
		}
	}
	if err := h.Sessions.Close(r.Context(), k.key, k.participant, k.session); err != nil {
		return err
	}
	w.WriteHeader(http.StatusOK)
	return nil
}

// own finds the session of the path among those of the token's participant: nobody else's exists for them.
func (h *Handler) own(r *http.Request, kind encounter.SessionKind) (resource, encounter.Session, error) {
	grant, err := h.authorize(r, h.Verifier.Resume)
	if err != nil {
		return resource{}, encounter.Session{}, err
	}
	k := resource{
		key:         encounter.Key{Tenant: grant.Tenant, ID: grant.Encounter},
		participant: grant.Participant, session: r.PathValue("session"), kind: kind,
	}
	if h.Pace != nil {
		if wait := h.Pace(k.key, k.participant); wait > 0 {
			return resource{}, encounter.Session{}, problem.TooSoon("too many requests", wait)
		}
	}
	session, err := h.find(r.Context(), k)
	return k, session, err
}

// permit checks what a session does against the permission matrix.
func permit(role access.Role, kind signaling.SessionKind) error {
	allowed := access.Can(role, access.Subscribe)
	verb := "receive"
	if kind == signaling.WHIPSession {
		allowed = access.Can(role, access.PublishAudio) || access.Can(role, access.PublishVideo)
		verb = "publish"
	}
	if allowed {
		return nil
	}
	return problem.New(http.StatusForbidden, problem.NotAllowed, fmt.Sprintf("role %s may not %s", role, verb))
}

// body reads a request body of one media type and at most limit bytes.
func body(w http.ResponseWriter, r *http.Request, mediaType string, limit int64) (string, error) {
	header := r.Header.Get("Content-Type")
	if got, _, err := mime.ParseMediaType(header); err != nil || got != mediaType {
		return "", problem.MediaType(header, mediaType)
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return "", err
	}
	if err != nil {
		return "", problem.New(http.StatusBadRequest, problem.BadMessage, "the body ended early")
	}
	return string(data), nil
}

// accepts reports whether an Accept header (RFC 9110 section 12.5.1) admits the media type.
func accepts(header http.Header, mediaType string) bool {
	list := strings.Join(header.Values("Accept"), ",")
	if strings.TrimSpace(list) == "" {
		return true
	}
	family, _, _ := strings.Cut(mediaType, "/")
	for element := range strings.SplitSeq(list, ",") {
		got, params, err := mime.ParseMediaType(element)
		if err != nil || strings.TrimRight(params["q"], "0.") == "" && params["q"] != "" {
			continue
		}
		if got == mediaType || got == family+"/*" || got == "*/*" {
			return true
		}
	}
	return false
}

func location(kind signaling.SessionKind, encounterID, session string) string {
	if kind == signaling.WHEPSession {
		return "/whep/" + encounterID + "/-/" + session
	}
	return "/whip/" + encounterID + "/" + session
}

// iceLinks renders servers as Link header values (RFC 9725 section 4.6).
func iceLinks(servers []signaling.ICEServer) []string {
	var links []string
	for _, server := range servers {
		credentials := ""
		if server.Username != "" {
			credentials = `; username=` + quoted(server.Username) + `; credential=` + quoted(server.Credential) +
				`; credential-type="password"`
		}
		for _, url := range server.URLs {
			links = append(links, "<"+url+`>; rel="ice-server"`+credentials)
		}
	}
	return links
}

// quoted renders a quoted-string (RFC 9110 section 5.6.4).
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// retryBusy is when a client told that media servers are busy should ask again.
const retryBusy = 5 * time.Second

// problemOf translates the errors of this package and leaves the others to package problem.
func problemOf(err error) *problem.Problem {
	for _, known := range []struct {
		err    error
		status int
		code   string
		detail string
	}{
		{ErrNotFound, http.StatusNotFound, problem.NotFound, "no such session"},
		{encounter.ErrNotFound, http.StatusNotFound, problem.NotFound, "no such session"},
		{ErrBusy, http.StatusServiceUnavailable, problem.Busy, "the media servers are busy"},
		{ErrNoServer, http.StatusServiceUnavailable, problem.NoMediaServer, "no media server can take the encounter now"},
		{ErrTooManyCandidates, http.StatusTooManyRequests, problem.RateLimited, "the session has had all the candidates it may have"},
		{ErrInvalidSDP, http.StatusUnprocessableEntity, problem.Invalid, "the media server cannot answer this session description"},
		{ErrMalformedSDP, http.StatusBadRequest, problem.BadMessage, ""},
		{ErrFragment, http.StatusBadRequest, problem.BadMessage, ""},
		{ErrUnusableOffer, http.StatusUnprocessableEntity, problem.Invalid, ""},
	} {
		if !errors.Is(err, known.err) {
			continue
		}
		p := problem.New(known.status, known.code, known.detail)
		if p.Detail == "" {
			// These come from our own parsers, which name lines and attributes and repeat no content.
			p.Detail = err.Error()
		}
		if known.status == http.StatusServiceUnavailable {
			p.RetryAfter = retryBusy
		}
		return p
	}
	return problem.Of(err)
}
