package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/wardline/wardline/core/access"
	"github.com/wardline/wardline/core/signaling"
	"github.com/wardline/wardline/edge/gateway/problem"
)

// Bounds of a request.
const (
	maxBodyBytes    = 64 << 10
	maxParticipants = 100
	maxRegions      = 16
	defaultTTL      = time.Hour
)

// person is one participant a tenant wants a join link for.
type person struct {
	ID   string      `json:"id,omitempty"`
	Role access.Role `json:"role"`
	Name string      `json:"name,omitempty"`
}

// creation is the body of POST /v1/encounters.
type creation struct {
	ID           string   `json:"id,omitempty"`
	Regions      []string `json:"regions,omitempty"`
	TTLSeconds   *int64   `json:"ttl_seconds,omitempty"`
	E2EE         bool     `json:"e2ee,omitempty"`
	Participants []person `json:"participants,omitempty"`
}

// addition is the body of POST /v1/encounters/{id}/participants.
type addition struct {
	person
	TTLSeconds *int64 `json:"ttl_seconds,omitempty"`
}

// read decodes the body strictly: one JSON object, of known members only.
func read(w http.ResponseWriter, r *http.Request, into any) error {
	header := r.Header.Get("Content-Type")
	if mediaType, _, err := mime.ParseMediaType(header); err != nil || mediaType != "application/json" {
		return problem.MediaType(header, "application/json")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return err
	}
	if err != nil {
		return problem.New(http.StatusBadRequest, problem.BadMessage, "the body ended early")
	}
	return decode(data, into)
}

func decode(data []byte, into any) error {
	if first := bytes.TrimLeft(data, " \t\r\n"); len(first) == 0 || first[0] != '{' {
		return problem.New(http.StatusBadRequest, problem.BadMessage, "the body must be a JSON object")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return explain(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return problem.New(http.StatusBadRequest, problem.BadMessage, "the body must be one JSON object and nothing after it")
	}
	return nil
}

// explain says what was wrong with a body without repeating its values, which may be names.
func explain(err error) error {
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return invalid("%s: must be of type %s, not %s", wrongType.Field, jsonType(wrongType), wrongType.Value)
	}
	if member, found := strings.CutPrefix(err.Error(), "json: unknown field "); found {
		return invalid("unknown member %.80s", member)
	}
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return problem.New(http.StatusBadRequest, problem.BadMessage, fmt.Sprintf("the body is not JSON (at byte %d)", syntax.Offset))
	}
	return problem.New(http.StatusBadRequest, problem.BadMessage, "the body is not JSON")
}

func jsonType(err *json.UnmarshalTypeError) string {
	switch err.Type.Kind().String() {
	case "string":
		return "string"
	case "slice":
		return "array"
	case "struct":
		return "object"
	case "bool":
		return "boolean"
	default:
		return "integer"
	}
}

func invalid(format string, args ...any) error {
	return problem.New(http.StatusUnprocessableEntity, problem.Invalid, fmt.Sprintf(format, args...))
}

func (c creation) validate() error {
	if err := checkOptionalID("id", c.ID); err != nil {
		return err
	}
	if len(c.Regions) > maxRegions {
		return invalid("regions: %d, at most %d", len(c.Regions), maxRegions)
	}
	for _, region := range c.Regions {
		if err := checkID("regions", region); err != nil {
			return err
		}
	}
	if len(c.Participants) > maxParticipants {
		return invalid("participants: %d, at most %d", len(c.Participants), maxParticipants)
	}
	seen := make(map[string]bool, len(c.Participants))
	for i, p := range c.Participants {
		if err := p.validate(fmt.Sprintf("participants[%d].", i)); err != nil {
			return err
		}
		if p.ID != "" && seen[p.ID] {
			return invalid("participants[%d].id: %s is given twice", i, p.ID)
		}
		seen[p.ID] = true
	}
	return checkTTL(c.TTLSeconds)
}

func (a addition) validate() error {
	if err := a.person.validate(""); err != nil {
		return err
	}
	return checkTTL(a.TTLSeconds)
}

func (p person) validate(prefix string) error {
	if err := checkOptionalID(prefix+"id", p.ID); err != nil {
		return err
	}
	if _, err := access.ParseRole(string(p.Role)); err != nil {
		return invalid("%srole: must be one of %s", prefix, roleNames())
	}
	if !access.ValidName(p.Name) {
		return invalid("%sname: must be printable and at most %d bytes", prefix, access.MaxNameBytes)
	}
	return nil
}

func roleNames() string {
	names := make([]string, 0, len(access.Roles()))
	for _, role := range access.Roles() {
		names = append(names, string(role))
	}
	return strings.Join(names, ", ")
}

func checkID(member, value string) error {
	if !signaling.ValidID(value) {
		return invalid("%s %.70q: must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit", member, value)
	}
	return nil
}

func checkOptionalID(member, value string) error {
	if value == "" {
		return nil
	}
	return checkID(member, value)
}

func checkTTL(seconds *int64) error {
	longest := int64(access.MaxTokenTTL / time.Second)
	if seconds != nil && (*seconds < 1 || *seconds > longest) {
		return invalid("ttl_seconds: %d, must be 1 to %d", *seconds, longest)
	}
	return nil
}

func ttl(seconds *int64) time.Duration {
	if seconds == nil {
		return defaultTTL
	}
	return time.Duration(*seconds) * time.Second
}
