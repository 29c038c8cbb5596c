package hugepages

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// reserve makes the heap grow by something that is never touched, and gives it back: the heap takes what it needs later from there,
// lowest addresses first.
func reserve(size int) {
	room := make([]byte, size)
	_ = unix.Madvise(room, unix.MADV_HUGEPAGE) // a system without huge pages has small ones
	runtime.GC()
}
