package packetring_test

import (
	"testing"

	"github.com/wardline/wardline/edge/sfu/packetring"
)

// BenchmarkPut is what every received packet costs before it is forwarded.
func BenchmarkPut(b *testing.B) {
	ring := packetring.New(512)
	data := make([]byte, 1200)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	var sequence uint16
	for b.Loop() {
		ring.Put(sequence, data)
		sequence++
	}
}

// BenchmarkGet is what answering one NACK costs before it is sealed again.
func BenchmarkGet(b *testing.B) {
	ring := packetring.New(512)
	var first int64
	for sequence := range uint16(512) {
		if number, _ := ring.Put(sequence, make([]byte, 1200)); sequence == 0 {
			first = number
		}
	}
	buffer := make([]byte, 0, 1500)
	b.ReportAllocs()
	var next int64
	for b.Loop() {
		if _, ok := ring.Get(first+next%512, buffer[:0]); !ok {
			b.Fatal("lost")
		}
		next++
	}
}
