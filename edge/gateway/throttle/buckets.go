package throttle

import (
	"container/list"

	"golang.org/x/time/rate"
)

// buckets are token buckets, one for each key that was heard of lately.
type buckets[K comparable] struct {
	Config
	recent  *list.List // of *entry[K], the one heard of last in front
	entries map[K]*list.Element
}

type entry[K comparable] struct {
	key    K
	bucket *rate.Limiter
}

func newBuckets[K comparable](c Config) *buckets[K] {
	return &buckets[K]{Config: c.withDefaults(), recent: list.New(), entries: make(map[K]*list.Element)}
}

// known returns the bucket of a key, nil if it is not remembered.
func (b *buckets[K]) known(key K) *rate.Limiter {
	element, ok := b.entries[key]
	if !ok {
		return nil
	}
	return entryOf[K](element).bucket
}

// of returns the bucket of a key, which has just been heard of.
func (b *buckets[K]) of(key K) *rate.Limiter {
	element, ok := b.entries[key]
	if !ok {
		b.makeRoom()
		element = b.recent.PushFront(&entry[K]{key: key, bucket: rate.NewLimiter(rate.Every(b.Every), b.Burst)})
		b.entries[key] = element
	}
	b.recent.MoveToFront(element)
	return entryOf[K](element).bucket
}

func (b *buckets[K]) makeRoom() {
	if b.recent.Len() < b.Max {
		return
	}
	last := b.recent.Back()
	b.recent.Remove(last)
	delete(b.entries, entryOf[K](last).key)
}

func (b *buckets[K]) len() int { return b.recent.Len() }

// entryOf returns what an element holds: the list holds nothing but entries.
func entryOf[K comparable](element *list.Element) *entry[K] {
	found, ok := element.Value.(*entry[K])
	if !ok {
		return &entry[K]{bucket: rate.NewLimiter(rate.Inf, 1)}
	}
	return found
}
