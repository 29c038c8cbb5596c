package revocation_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/wardline/wardline/core/revocation"
	"github.com/wardline/wardline/core/signaling"
)

var start = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

func entry(credential string, after time.Duration) revocation.Entry {
	return revocation.Entry{Credential: credential, Until: start.Add(after)}
}

func TestIDsAreOpaqueAndBeginWithWhatTheyBelongTo(t *testing.T) {
	session := revocation.Session("clinic", "visit", "patient", uuid.NewString())
	require.True(t, signaling.ValidID(session), session)
	require.True(t, strings.HasPrefix(session, revocation.Participant("clinic", "visit", "patient")+"."))
	require.True(t, strings.HasPrefix(session, revocation.Visit("clinic", "visit")+"."))
	require.NotContains(t, session, "clinic")
	require.NotContains(t, session, "patient")
	require.NotEqual(t, revocation.Visit("clinic", "visit"), revocation.Visit("clinic2", "visit"))
	require.NotEqual(t, revocation.Visit("a", "bc"), revocation.Visit("ab", "c"))
}

func TestARevocationCoversWhatBeginsWithIt(t *testing.T) {
	for _, c := range []struct {
		revoked, credential string
		want                bool
	}{
		{"v.p.s", "v.p.s", true},
		{"v.p", "v.p.s", true},
		{"v", "v.p.s", true},
		{"v.p.s", "v.p", false},
		{"v.p.s", "v.p.s2", false},
		{"v.p", "v.p2.s", false},
		{"v", "v2", false},
		{"v", "", false},
		{"v", ".v", false},
	} {
		l := revocation.NewList(8)
		news, dropped := l.Add(entry(c.revoked, time.Hour), start)
		require.True(t, news)
		require.False(t, dropped)
		require.Equal(t, c.want, l.Covers(c.credential, start), "%s covers %s", c.revoked, c.credential)
	}
}

func TestRevocationsAreIdempotentAndExpire(t *testing.T) {
	l := revocation.NewList(8)
	news, _ := l.Add(entry("v.p.s", time.Hour), start)
	require.True(t, news)
	news, _ = l.Add(entry("v.p.s", 2*time.Hour), start)
	require.False(t, news)
	_, _ = l.Add(entry("v.p.s", time.Minute), start)
	require.True(t, l.Covers("v.p.s", start.Add(90*time.Minute)), "the later end counts")
	require.Equal(t, []revocation.Entry{entry("v.p.s", 2*time.Hour)}, l.Entries(start))
	require.False(t, l.Covers("v.p.s", start.Add(2*time.Hour)))
	news, _ = l.Add(entry("brief", time.Second), start)
	require.True(t, news)
	news, _ = l.Add(entry("brief", time.Hour), start.Add(time.Second))
	require.True(t, news, "it had expired, and was not forgotten yet")
	require.Empty(t, l.Entries(start.Add(2*time.Hour)))
	require.Zero(t, l.Len())

	news, _ = l.Add(entry("late", 0), start)
	require.False(t, news, "expired on arrival")
	require.Zero(t, l.Len())
	news, _ = l.Add(entry("v", time.Hour), start)
	require.True(t, news)
	news, _ = l.Add(entry("v.p", time.Hour), start)
	require.False(t, news, "covered by its visit already")
}

func TestAListIsBounded(t *testing.T) {
	l := revocation.NewList(100)
	for i := range 100 {
		_, dropped := l.Add(entry(fmt.Sprintf("c%d", i), time.Hour+time.Duration(i)*time.Second), start)
		require.False(t, dropped)
	}
	_, dropped := l.Add(entry("more", 2*time.Hour), start)
	require.True(t, dropped)
	require.Equal(t, 100, l.Len())
	require.False(t, l.Covers("c0", start), "what expires first makes room")
	require.True(t, l.Covers("c1", start))
	require.True(t, l.Covers("more", start))

	_, dropped = l.Add(entry("later", 3*time.Hour), start.Add(time.Hour+50*time.Second))
	require.False(t, dropped, "what has expired makes room first")
	require.Less(t, l.Len(), 60)
}

func TestNobodyPushesOutWhatOthersWereDenied(t *testing.T) {
	const limit = 6400
	l := revocation.NewList(limit)
	removed := revocation.Participant("clinic", "visit", "removed")
	_, _ = l.Add(entry(removed, time.Hour), start)
	for i := range 2 * limit {
		session := revocation.Session("clinic", "visit", "restless", fmt.Sprintf("s%d", i))
		news, _ := l.Add(entry(session, time.Hour+time.Duration(i)*time.Second), start)
		require.True(t, news)
	}
	require.True(t, l.Covers(removed+".s1", start))
	require.LessOrEqual(t, l.Len(), limit/50)
	last := revocation.Session("clinic", "visit", "restless", fmt.Sprintf("s%d", 2*limit-1))
	require.True(t, l.Covers(last, start), "of a holder the newest count")
	require.Empty(t, l.Entries(start.Add(24*time.Hour)))
}

func TestHolderOfACredential(t *testing.T) {
	participant := revocation.Participant("clinic", "visit", "patient")
	require.Equal(t, participant, revocation.Holder(revocation.Session("clinic", "visit", "patient", uuid.NewString())))
	require.Equal(t, "standby-X", revocation.Holder("standby-X"))
	require.Equal(t, ".x", revocation.Holder(".x"))
	require.Empty(t, revocation.Holder(""))
}
