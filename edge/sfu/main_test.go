package sfu

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "6") // they wait for media most of the time
	goleak.VerifyTestMain(m)
}
