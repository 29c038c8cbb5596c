package api

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/edge/gateway/problem"
)

func FuzzDecodeCreation(f *testing.F) {
	for _, seed := range []string{
		`{}`, `{"id":"v","participants":[{"role":"patient","name":"J"}],"ttl_seconds":1}`, `{"regions":[null]}`, `[`, `{"a":1}`, "\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var c creation
		err := decode(data, &c)
		if err == nil {
			err = c.validate()
		}
		if err != nil {
			p, ok := errors.AsType[*problem.Problem](err)
			require.True(t, ok, "a refusal is always the client's to see")
			require.Contains(t, []int{400, 422}, p.Status)
			return
		}
		encoded, err := json.Marshal(c)
		require.NoError(t, err)
		var again creation
		require.NoError(t, decode(encoded, &again))
	})
}
