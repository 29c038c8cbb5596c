package mux

import (
	"encoding/binary"

	"github.com/wardline/wardline/edge/dtlssrtp"
	"github.com/wardline/wardline/edge/udp"
)

// maxSources bounds the sources of one connection: the latest count.
const maxSources = 64

// Sends says that the receiver got genuine media of a source (SSRC): it is given more of it whatever address that comes from, until
// Forget. Behind address translation a client may have another one at any time, which its browser finds out some seconds later (RFC
// 7675); no media is sent there before a check has come from it.
func (v *View) Sends(ssrc uint32) {
	m := v.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(v.sources) == maxSources {
		m.disown(v, v.sources[0])
		v.sources = v.sources[1:]
	}
	v.sources = append(v.sources, ssrc)
	if m.sources[ssrc] == nil { // nobody takes another's away
		m.sources[ssrc] = v
	}
}

// Forget ends that.
func (v *View) Forget() {
	m := v.mux
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, ssrc := range v.sources {
		m.disown(v, ssrc)
	}
	v.sources = nil
}

// disown leaves a source that is another connection's: nobody sees to it that they differ.
func (m *Mux) disown(v *View, ssrc uint32) {
	if m.sources[ssrc] == v {
		delete(m.sources, ssrc)
	}
}

// stray gives media from an address that is nobody's to whom its source says it is for, who finds out if it is genuine.
func (m *Mux) stray(batch []udp.Datagram, out *udp.Batch) {
	for i := range batch {
		if v := m.sender(batch[i].Payload); v != nil {
			v.receiver.Receive(batch[i:i+1], out)
		} else {
			m.unrouted.Add(1)
		}
	}
}

func (m *Mux) sender(packet []byte) *View {
	const source, end = 8, 12 // RFC 3550, section 5.1
	if len(packet) < end || !dtlssrtp.IsMedia(packet) || dtlssrtp.IsControl(packet) {
		return nil
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.sources[binary.BigEndian.Uint32(packet[source:end])]
}
