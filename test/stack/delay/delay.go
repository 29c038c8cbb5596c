//go:build linux

// Package delay holds every packet between regions back for a fixed time. It is a router in user space: the
// kernel hands packets to a TUN device, and they go back the same way when their time has come. UDP, TCP
// and everything else on IP are delayed alike, without knowing any port.
package delay

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of the queue between the two directions.
const (
	maxPacket = 65535
	// maxQueued packets wait at once; more are dropped, as a router would.
	maxQueued = 1 << 14
)

// Router delays packets. Close ends it.
type Router struct {
	tun    *os.File
	oneWay time.Duration
	queue  chan held
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// held is a packet and when to let it go.
type held struct {
	due    time.Time
	packet []byte
}

// Open makes a TUN device of the given name in the network of the calling thread and starts to delay what the kernel
// routes to it. The device goes with the router.
func Open(device string, oneWay time.Duration) (*Router, error) {
	if oneWay <= 0 {
		return nil, fmt.Errorf("delay %v: must be above 0", oneWay)
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	request, err := unix.NewIfreq(device)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("device %q: %w", device, err), unix.Close(fd))
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, errors.Join(fmt.Errorf("make device %q: %w", device, err), unix.Close(fd))
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Router{tun: os.NewFile(uintptr(fd), device), oneWay: oneWay, queue: make(chan held, maxQueued), cancel: cancel}
	r.done.Go(r.read)
	r.done.Go(func() { r.release(ctx) })
	return r, nil
}

// read queues packets in their order; equal delays keep it.
func (r *Router) read() {
	defer close(r.queue)
	buffer := make([]byte, maxPacket)
	for {
		n, err := r.tun.Read(buffer)
		if err != nil {
			return
		}
		select {
		case r.queue <- held{time.Now().Add(r.oneWay), append([]byte(nil), buffer[:n]...)}:
		default:
		}
	}
}

// release writes each packet back when it is due.
func (r *Router) release(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for next := range r.queue {
		timer.Reset(time.Until(next.due))
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		_, _ = r.tun.Write(next.packet) // a packet lost is a packet lost
	}
}

// Close removes the device; packets that wait are dropped.
func (r *Router) Close() error {
	r.cancel()
	err := r.tun.Close()
	r.done.Wait()
	if err != nil {
		return fmt.Errorf("close the delaying router: %w", err)
	}
	return nil
}
