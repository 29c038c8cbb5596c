//go:build linux

package stack

import (
	"context"
	"fmt"
	"time"

	"github.com/wardline/wardline/test/stack/delay"
)

// Names on the router of what delays packets.
const (
	delayDevice = "delay"
	delayTable  = 100
)

// slowDown sends packets from one region to another through a delaying router in user space. Its way back is the
// kernel's own table, which knows the regions.
func (w *World) slowDown(ctx context.Context, oneWay time.Duration) error {
	var router *delay.Router
	err := w.router.InNetwork(func() (err error) {
		router, err = delay.Open(delayDevice, oneWay)
		return err
	})
	if err != nil {
		return err
	}
	w.background = append(w.background, router)
	lines := []string{fmt.Sprintf("link set %s up", delayDevice)}
	for _, r := range w.plan.Regions {
		lines = append(lines,
			fmt.Sprintf("route add %s dev %s table %d", r.Prefix, delayDevice, delayTable),
			fmt.Sprintf("rule add priority %d iif %s lookup %d", delayPriority, r.Bridge, delayTable))
	}
	return w.router.IP(ctx, lines...)
}
