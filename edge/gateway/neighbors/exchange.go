// Package neighbors is what gateways of one region get from those of another: credentials for the relays there, and the
// secret that display names are sealed with there. Both come from the other region's own keeper of secrets.
//
// It is asked for over mutual TLS, gateway to gateway, on a listener of its own that browsers do not reach.
package neighbors

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/wardline/wardline/core/secrets"
	"github.com/wardline/wardline/core/signaling"
)

const (
	// path is where a neighbor answers.
	path = "/v1/neighbor"
	// maxIDs bounds how many credentials one request asks for.
	maxIDs = 64
	// maxRequestBytes and maxAnswerBytes bound what is read of the other side.
	maxRequestBytes, maxAnswerBytes = 16 << 10, 64 << 10
	// CredentialTTL is how long a neighbor's credentials work: as long as the longest visit after the longest wait in
	// the cache.
	CredentialTTL = 12 * time.Hour
)

// request asks for credentials with these ids; none at all asks for the roster secret alone.
type request struct {
	IDs []string `json:"ids"`
}

// answer has the credentials in the order of the ids.
type answer struct {
	Credentials []credential   `json:"credentials"`
	Expires     time.Time      `json:"expires"`
	Roster      secrets.Shared `json:"roster"`
}

type credential struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// Keeper is what a neighbor answers from; secrets.Keeper is one.
type Keeper interface {
	// Shared returns the TURN and the roster secret.
	Shared(ctx context.Context, name string) (secrets.Shared, error)
}

// Handler answers the gateways of other regions. Its server demands a gateway's certificate.
func Handler(keeper Keeper, log zerolog.Logger) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
		var asked request
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequestBytes))
		err := decoder.Decode(&asked)
		if err == nil {
			err = asked.check()
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		told, err := answerFrom(r.Context(), keeper, asked.IDs, time.Now())
		if err != nil {
			log.Warn().Err(err).Msg("a gateway of another region was not answered")
			http.Error(w, "secrets not available", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if err := json.NewEncoder(w).Encode(told); err != nil {
			log.Debug().Err(err).Msg("a gateway of another region did not take its answer")
		}
	})
	return mux
}

func (r request) check() error {
	if len(r.IDs) > maxIDs {
		return fmt.Errorf("ids: %d, at most %d", len(r.IDs), maxIDs)
	}
	for i, id := range r.IDs {
		if !signaling.ValidID(id) {
			return fmt.Errorf("ids: number %d must be 1 to 64 letters, digits, '.', '_' or '-'", i+1)
		}
	}
	return nil
}

func answerFrom(ctx context.Context, keeper Keeper, ids []string, now time.Time) (answer, error) {
	turn, err := keeper.Shared(ctx, secrets.TURNSecret)
	if err != nil {
		return answer{}, err
	}
	roster, err := keeper.Shared(ctx, secrets.RosterSecret)
	if err != nil {
		return answer{}, err
	}
	told := answer{Expires: now.Add(CredentialTTL).Truncate(time.Second), Roster: roster, Credentials: make([]credential, 0, len(ids))}
	for _, id := range ids {
		username, password := secrets.TURNCredential(turn, id, told.Expires)
		told.Credentials = append(told.Credentials, credential{username, password})
	}
	return told, nil
}

// errAnswer says that a neighbor's answer makes no sense.
var errAnswer = errors.New("not an answer to what was asked")

// check holds an answer to the request.
func (a answer) check(asked []string, now time.Time) error {
	if len(a.Credentials) != len(asked) || !a.Expires.After(now) || len(a.Roster.Current) == 0 {
		return errAnswer
	}
	for _, one := range a.Credentials {
		if one.Username == "" || one.Password == "" {
			return errAnswer
		}
	}
	return nil
}
