// Package hugepages has the Go heap grow into huge pages (transparent_hugepage(5) of Linux). Each picture that comes has a media server
// touch some hundred places of its heap, for which the processor looks up as many small pages anew whenever it was idle in between.
package hugepages

// Reserve has the next size bytes that the heap grows by be huge pages, where the system leaves that to programs. It takes no memory
// by itself: that comes with use, two megabytes at a time.
func Reserve(size int) { reserve(size) }
