package gateway

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/encounter"
)

func TestErrorsAreToldApart(t *testing.T) {
	for code, err := range map[string]error{
		"encounter-ended": encounter.ErrEnded,
		"encounter-full":  fmt.Errorf("write: %w", encounter.ErrTooLarge), // coming back later helps nobody
		codeUnavailable:   errors.New("unforeseen"),
	} {
		require.Equal(t, code, codeOf(err))
	}
}
