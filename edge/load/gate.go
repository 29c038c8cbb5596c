package load

import (
	"fmt"
	"time"
)

// Gates are what a run must not exceed. The zero value of each is no gate.
type Gates struct {
	// MaxLoss and MinDelivered are shares, 0 to 1. MaxLoss is a gate where it is not nil, for 0 is one too.
	MaxLoss      *float64
	MinDelivered float64
	// MaxLatencyP50 and MaxLatencyP99 are of packets, MaxJoinP95 is of joins.
	MaxLatencyP50, MaxLatencyP99, MaxJoinP95 time.Duration
	// MaxCPU is in microseconds of the server's processor for each forwarded packet.
	MaxCPU float64
}

// Validate says which value is not allowed.
func (g Gates) Validate() error {
	if g.MaxLoss != nil && (*g.MaxLoss < 0 || *g.MaxLoss > 1) {
		return fmt.Errorf("max loss %.4g %%: must be 0 to 100 %%", 100**g.MaxLoss)
	}
	if g.MinDelivered < 0 || g.MinDelivered > 1 {
		return fmt.Errorf("min delivered %.4g %%: must be 0 to 100 %%", 100*g.MinDelivered)
	}
	if min(g.MaxLatencyP50, g.MaxLatencyP99, g.MaxJoinP95) < 0 {
		return fmt.Errorf("gates: %s must not be negative", min(g.MaxLatencyP50, g.MaxLatencyP99, g.MaxJoinP95))
	}
	if g.MaxCPU < 0 {
		return fmt.Errorf("max cpu %g: must not be negative", g.MaxCPU)
	}
	return nil
}

// Missed tells what of a report is beyond the gates; a run that measured nothing, or that not everybody could join, passes
// none.
func (g Gates) Missed(r Report) []string {
	var missed []string
	miss := func(format string, args ...any) { missed = append(missed, fmt.Sprintf(format, args...)) }
	if r.Seconds == 0 {
		miss("nothing was measured")
	}
	if r.Joins.Succeeded < r.Joins.Wanted {
		miss("%d of %d joins failed", r.Joins.Wanted-r.Joins.Succeeded, r.Joins.Wanted)
	}
	if g.MaxLoss != nil && r.Packets.Loss > *g.MaxLoss {
		miss("loss %.3f %%, at most %.4g %%", 100*r.Packets.Loss, 100**g.MaxLoss)
	}
	if r.Packets.Delivered < g.MinDelivered {
		miss("delivered %.2f %%, at least %.4g %%", 100*r.Packets.Delivered, 100*g.MinDelivered)
	}
	for _, each := range []struct {
		name   string
		actual float64
		most   time.Duration
	}{
		{"latency p50", r.Latency.P50, g.MaxLatencyP50},
		{"latency p99", r.Latency.P99, g.MaxLatencyP99},
		{"join p95", r.Joins.Times.P95, g.MaxJoinP95},
	} {
		if each.most > 0 && each.actual > milliseconds(each.most) {
			miss("%s %.2f ms, at most %s", each.name, each.actual, each.most)
		}
	}
	if g.MaxCPU > 0 && (r.CPU == nil || r.CPU.Error != "" || r.CPU.MicrosecondsPerPacket == 0) {
		miss("the server's processor time is not known")
	} else if g.MaxCPU > 0 && r.CPU.MicrosecondsPerPacket > g.MaxCPU {
		miss("cpu %.2f us a packet, at most %g", r.CPU.MicrosecondsPerPacket, g.MaxCPU)
	}
	return missed
}
