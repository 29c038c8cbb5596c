package neighbors

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// maxTries bounds how many gateways of a region are asked for one batch.
const maxTries = 3

// ask asks a neighbor until ctx ends: at once where somebody waits, otherwise now and then. What queues up while one
// request runs goes into the next.
func (b *Book) ask(ctx context.Context, n *neighbor) {
	failures := 0
	for ctx.Err() == nil {
		err := b.round(ctx, n)
		if ctx.Err() != nil {
			return
		}
		pause, wake := askEvery, n.wake
		if err != nil {
			if failures == 0 {
				b.Log.Warn().Err(err).Str("of", n.region).Msg("gateways of another region do not answer, what they said last is used")
			}
			failures++
			pause, wake = min(retry<<min(failures-1, 8), retryMost), nil
		} else if failures > 0 {
			b.Log.Info().Str("of", n.region).Msg("gateways of another region answer again")
			failures = 0
		}
		timer := time.NewTimer(pause)
		select {
		case <-wake:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// round gets one batch.
func (b *Book) round(ctx context.Context, n *neighbor) error {
	ids, spare := b.batch(n)
	told, err := b.anyOf(ctx, b.gatewaysOf(n), ids)
	if err != nil {
		b.putBack(n, ids[spare:])
		return err
	}
	if b.take(n, ids, spare, told) && b.Changed != nil {
		b.Changed()
	}
	if len(ids) == maxIDs { // there may be more
		select {
		case n.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (b *Book) anyOf(ctx context.Context, gateways, ids []string) (answer, error) {
	failures := []error{errNoGateway}
	for _, address := range gateways[:min(len(gateways), maxTries)] {
		told, err := b.exchange(ctx, address, ids)
		if err == nil {
			return told, nil
		}
		failures = append(failures, err)
	}
	return answer{}, errors.Join(failures...)
}

var errNoGateway = errors.New("no gateway of the region answered")

func (b *Book) exchange(ctx context.Context, address string, ids []string) (answer, error) {
	if ids == nil {
		ids = []string{}
	}
	body, err := json.Marshal(request{ids})
	if err != nil {
		return answer{}, err
	}
	asked, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+address+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	asked.Header.Set("Content-Type", "application/json")
	response, err := b.http.Do(asked)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerBytes))
	if err != nil {
		return answer{}, err
	}
	if response.StatusCode != http.StatusOK {
		return answer{}, fmt.Errorf("%s: %s", address, response.Status)
	}
	return parseAnswer(content, ids, b.now())
}

// parseAnswer never says what an answer held: it may be a secret.
func parseAnswer(content []byte, asked []string, now time.Time) (answer, error) {
	var told answer
	if json.Unmarshal(content, &told) != nil {
		return answer{}, errAnswer
	}
	return told, told.check(asked, now)
}
