package gateway

import (
	"sync"

	"github.com/coder/websocket"
)

// A client that has this much unread is too slow: a visit's signaling is a few messages a second.
const (
	maxQueuedMessages = 512
	maxQueuedBytes    = 2 << 20
)

// outbox is the bounded queue towards one client. Nobody ever waits for it but its reader.
type outbox struct {
	mu     sync.Mutex
	queue  [][]byte
	bytes  int
	code   websocket.StatusCode
	reason string
	closed bool
	ready  chan struct{} // has room for one
}

func newOutbox() *outbox { return &outbox{ready: make(chan struct{}, 1)} }

// push queues a message; false if there is no room. A closed outbox swallows it.
func (o *outbox) push(data []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return true
	}
	if len(o.queue) >= maxQueuedMessages || o.bytes+len(data) > maxQueuedBytes {
		return false
	}
	o.queue = append(o.queue, data)
	o.bytes += len(data)
	o.signal()
	return true
}

// finish makes last, if any, the last message and the code what the socket closes with. With drop the
// messages before it are given up. Only the first call counts; it returns true.
func (o *outbox) finish(last []byte, drop bool, code websocket.StatusCode, reason string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return false
	}
	o.closed, o.code, o.reason = true, code, reason
	if drop {
		o.queue = nil
	}
	if last != nil {
		o.queue = append(o.queue, last)
	}
	o.signal()
	return true
}

// finished reports whether the last message is decided: what the client still says does not count.
func (o *outbox) finished() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed
}

func (o *outbox) signal() {
	select {
	case o.ready <- struct{}{}:
	default:
	}
}

// pop returns the next message, or ended once the last one is out.
func (o *outbox) pop() (data []byte, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.queue) == 0 {
		return nil, o.closed
	}
	data, o.queue = o.queue[0], o.queue[1:]
	o.bytes -= len(data)
	return data, false
}

// status is what the socket closes with.
func (o *outbox) status() (websocket.StatusCode, string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.code, o.reason
}
