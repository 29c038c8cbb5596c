package throttle_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/wardline/wardline/edge/gateway/throttle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a clock the test moves.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func limiter(burst, addresses int) (*throttle.Limiter, *clock) {
	c := &clock{now: time.Unix(1000, 0)}
	return throttle.New(throttle.Config{Burst: burst, Every: time.Second, Max: addresses, Now: c.Now}), c
}

func TestFailuresStopAnAddressUntilTheyAreForgiven(t *testing.T) {
	l, c := limiter(2, 10)
	bad, good := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	require.True(t, l.Allow(bad))
	l.Failed(bad)
	require.True(t, l.Allow(bad), "one more is allowed")
	l.Failed(bad)
	require.False(t, l.Allow(bad))
	require.True(t, l.Allow(good), "others are not concerned")
	c.now = c.now.Add(999 * time.Millisecond)
	require.False(t, l.Allow(bad))
	c.now = c.now.Add(time.Millisecond)
	require.True(t, l.Allow(bad))
}

func TestAskingCostsNothing(t *testing.T) {
	l, _ := limiter(1, 10)
	for range 100 {
		require.True(t, l.Allow(netip.MustParseAddr("192.0.2.1")))
	}
	require.Zero(t, l.Len(), "only failures are remembered")
}

func TestAddressesThatCountAsOne(t *testing.T) {
	for _, c := range []struct {
		failed, asked string
		allowed       bool
	}{
		{"192.0.2.1", "192.0.2.1", false},
		{"192.0.2.1", "::ffff:192.0.2.1", false},
		{"192.0.2.1", "192.0.2.2", true},
		{"2001:db8::1", "2001:db8::ffff", false},
		{"fe80::1%eth0", "fe80::2%eth1", false},
		{"2001:db8::1", "2001:db8:0:1::1", true},
	} {
		l, _ := limiter(1, 10)
		l.Failed(netip.MustParseAddr(c.failed))
		require.Equal(t, c.allowed, l.Allow(netip.MustParseAddr(c.asked)), "%s after %s", c.asked, c.failed)
	}
}

func TestMemoryIsBoundedAndForgetsTheQuietest(t *testing.T) {
	l, _ := limiter(1, 3)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }
	for i := range 3 {
		l.Failed(addr(i))
	}
	l.Failed(addr(0))
	l.Failed(addr(3))
	require.Equal(t, 3, l.Len())
	require.False(t, l.Allow(addr(0)), "failed again, so remembered")
	require.True(t, l.Allow(addr(1)), "quietest, so forgotten")
	for i := range 1000 {
		l.Failed(addr(i))
	}
	require.Equal(t, 3, l.Len())
}

func TestZeroValuesMeanDefaults(t *testing.T) {
	l := throttle.New(throttle.Config{})
	unknown := netip.Addr{}
	for range 10 {
		require.True(t, l.Allow(unknown))
		l.Failed(unknown)
	}
	require.False(t, l.Allow(unknown), "requests without an address share one allowance")
}

func TestPaceLetsEachHaveItsShare(t *testing.T) {
	c := &clock{now: time.Unix(1000, 0)}
	p := throttle.NewPace[string](throttle.Config{Burst: 2, Every: time.Second, Now: c.Now})
	require.Zero(t, p.Take("a"))
	require.Zero(t, p.Take("a"))
	for range 100 {
		require.Equal(t, time.Second, p.Take("a"), "what was refused costs nothing")
	}
	require.Zero(t, p.Take("b"), "others are not concerned")
	c.now = c.now.Add(400 * time.Millisecond)
	require.Equal(t, 600*time.Millisecond, p.Take("a"))
	c.now = c.now.Add(600 * time.Millisecond)
	require.Zero(t, p.Take("a"))
	require.NotZero(t, p.Take("a"))
}

func TestPaceTakesAllOrNone(t *testing.T) {
	c := &clock{now: time.Unix(1000, 0)}
	p := throttle.NewPace[string](throttle.Config{Burst: 4, Every: time.Second, Now: c.Now})
	require.Zero(t, p.TakeN("a", 3))
	for range 100 {
		require.Equal(t, 2*time.Second, p.TakeN("a", 3))
	}
	require.Zero(t, p.Take("a"), "what was refused costs nothing")
	c.now = c.now.Add(3 * time.Second)
	require.Zero(t, p.TakeN("a", 3))
}

func TestPaceForgetsTheQuietest(t *testing.T) {
	p := throttle.NewPace[int](throttle.Config{Burst: 1, Every: time.Hour, Max: 2})
	for _, key := range []int{1, 2} {
		require.Zero(t, p.Take(key))
	}
	require.NotZero(t, p.Take(1), "heard of again, so remembered")
	require.Zero(t, p.Take(3))
	require.NotZero(t, p.Take(1))
	require.Zero(t, p.Take(2), "quietest, so forgotten")
}
