package sfu

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgressStopsWithARoomThatHangs(t *testing.T) {
	w := newWorld(t)
	goesOn := func() {
		before := w.server.Progress()
		require.Eventually(t, func() bool { return w.server.Progress() > before+1 }, patience, tickEvery)
	}
	w.server.inRoom(theVisit, func(*room) {})
	goesOn()
	w.server.inRoom(theVisit, func(*room) {
		begun := w.server.Progress() // of a round, which may have been past the room
		require.Never(t, func() bool { return w.server.Progress() > begun+1 }, 5*tickEvery, tickEvery)
	})
	goesOn()
}
