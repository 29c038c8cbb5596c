package downtrack_test

import (
	"testing"

	"github.com/wardline/wardline/edge/sfu/downtrack"
)

// BenchmarkForward is what rewriting one packet for one subscriber costs, without sealing and sending.
func BenchmarkForward(b *testing.B) {
	stream := downtrack.New(90_000)
	stream.Switch(1)
	p := downtrack.Packet{Start: true, Numbered: true}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := stream.Forward(1, &p); !ok {
			b.Fatal("not forwarded")
		}
		p.Number++
		p.Timestamp += 3000
		p.PictureID = (p.PictureID + 1) & 0x7fff
	}
}
