package discovery

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hashicorp/consul/api"
)

// maxTxnValueBytes is what fits, in base64, into the 512 KiB that Consul accepts as a transaction.
const maxTxnValueBytes = 380_000

// consulKV is the KV of one datacenter.
type consulKV struct {
	consul     *Consul
	datacenter string // empty means the agent's
	keys       *feed[Entry]
}

// KV returns the key-value store of a datacenter, "" being the agent's. Another datacenter's servers are asked directly
// where they are known, so that they can be while the own ones are down, and otherwise through this node's agent.
func (c *Consul) KV(datacenter string) KV { return c.kvOf(datacenter) }

func (c *Consul) kvOf(datacenter string) *consulKV {
	c.mu.Lock()
	defer c.mu.Unlock()
	kv := c.regions[datacenter]
	if kv == nil {
		kv = &consulKV{consul: c, datacenter: datacenter}
		kv.keys = newFeed(c.ctx, &c.work, kv.followKey, sameEntry, true)
		c.regions[datacenter] = kv
	}
	return kv
}

// Get implements KV.
func (k *consulKV) Get(ctx context.Context, key string) (Entry, error) {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return Entry{}, err
	}
	limited, cancel := k.consul.bounded(ctx)
	defer cancel()
	entry, _, err := k.entry(key, (&api.QueryOptions{Datacenter: k.datacenter}).WithContext(limited))
	if err != nil {
		return Entry{}, consulError(ctx, "key "+key, err)
	}
	if entry.Index == 0 {
		return Entry{}, fmt.Errorf("key %s: %w", key, ErrNotFound)
	}
	return entry, nil
}

// entry returns Index 0 for a key that does not exist.
func (k *consulKV) entry(key string, options *api.QueryOptions) (Entry, uint64, error) {
	pair, meta, err := k.consul.api.KV().Get(key, options)
	if err != nil {
		return Entry{}, 0, err
	}
	if meta.LastIndex == 0 {
		return Entry{}, 0, errNotConsul
	}
	if pair == nil {
		return Entry{Key: key}, meta.LastIndex, nil
	}
	if pair.Key != key {
		return Entry{}, 0, fmt.Errorf("answer about key %.220q", pair.Key)
	}
	return entryOf(pair), meta.LastIndex, nil
}

// entryOf returns an entry whose value is never nil, which would mean deleted.
func entryOf(pair *api.KVPair) Entry {
	value := pair.Value
	if value == nil {
		value = []byte{}
	}
	return Entry{Key: pair.Key, Value: value, Index: pair.ModifyIndex}
}

// CompareAndSet implements KV.
func (k *consulKV) CompareAndSet(ctx context.Context, key string, value []byte, index uint64) (Entry, error) {
	if err := cmp.Or(ctx.Err(), checkWrite(key, value)); err != nil {
		return Entry{}, err
	}
	limited, cancel := k.consul.bounded(ctx)
	defer cancel()
	if len(value) > maxTxnValueBytes {
		return k.setLarge(ctx, limited, key, value, index)
	}
	ok, answer, _, err := k.consul.api.Txn().Txn(
		api.TxnOps{{KV: &api.KVTxnOp{Verb: api.KVCAS, Key: key, Value: value, Index: index, Flags: flags(index)}}},
		(&api.QueryOptions{Datacenter: k.datacenter}).WithContext(limited))
	written := Entry{Key: key, Value: append([]byte{}, value...)}
	if err == nil {
		written.Index, err = outcome(key, index, ok, answer)
	}
	if errors.Is(err, ErrConflict) {
		return Entry{}, err
	}
	if err != nil {
		return Entry{}, consulError(ctx, "set key "+key, err)
	}
	return written, nil
}

// flags stores beside a value the index of the one it replaces. Consul skips a write that changes nothing, and the
// index would not grow.
func flags(replaces uint64) uint64 { return replaces }

// outcome returns the new index after a transaction of one compare-and-set, or why there is none.
func outcome(key string, index uint64, ok bool, answer *api.TxnResponse) (uint64, error) {
	switch {
	case answer == nil:
		return 0, errNotConsul
	case ok && len(answer.Results) == 1 && answer.Results[0] != nil && answer.Results[0].KV != nil &&
		answer.Results[0].KV.ModifyIndex > index:
		return answer.Results[0].KV.ModifyIndex, nil
	case ok || len(answer.Errors) == 0 || answer.Errors[0] == nil:
		return 0, errNotConsul
	case strings.Contains(answer.Errors[0].What, "index is stale"):
		return 0, stale(key, index)
	default:
		return 0, fmt.Errorf("%.300s", answer.Errors[0].What)
	}
}

func stale(key string, index uint64) error {
	return fmt.Errorf("key %s: %w: index is no longer %d", key, ErrConflict, index)
}

// setLarge writes what does not fit into a transaction. Such a write does not tell the new index, so it is read back.
func (k *consulKV) setLarge(ctx, limited context.Context, key string, value []byte, index uint64) (Entry, error) {
	written, _, err := k.consul.api.KV().CAS(
		&api.KVPair{Key: key, Value: value, ModifyIndex: index, Flags: flags(index)},
		(&api.WriteOptions{Datacenter: k.datacenter}).WithContext(limited))
	if err != nil {
		return Entry{}, consulError(ctx, "set key "+key, err)
	}
	if !written {
		return Entry{}, stale(key, index)
	}
	now, _, err := k.entry(key, (&api.QueryOptions{Datacenter: k.datacenter}).WithContext(limited))
	if err != nil {
		return Entry{}, consulError(ctx, "read back key "+key, err)
	}
	entry := Entry{Key: key, Value: bytes.Clone(value), Index: now.Index}
	if !bytes.Equal(now.Value, value) {
		// Somebody wrote since. Our index is unknown, but this one is as old, so the next compare-and-set conflicts.
		entry.Index = max(now.Index, index+2) - 1
	}
	return entry, nil
}

// Delete implements KV.
func (k *consulKV) Delete(ctx context.Context, key string, index uint64) error {
	if err := cmp.Or(ctx.Err(), checkKey(key)); err != nil {
		return err
	}
	limited, cancel := k.consul.bounded(ctx)
	defer cancel()
	deleted, _, err := k.consul.api.KV().DeleteCAS(
		&api.KVPair{Key: key, ModifyIndex: index}, (&api.WriteOptions{Datacenter: k.datacenter}).WithContext(limited))
	if err != nil {
		return consulError(ctx, "delete key "+key, err)
	}
	if !deleted {
		return stale(key, index)
	}
	return nil
}

// List implements KV.
func (k *consulKV) List(ctx context.Context, prefix string) ([]Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, k.consul.pace.list)
	defer cancel()
	options := (&api.QueryOptions{Datacenter: k.datacenter}).WithContext(limited)
	pairs, meta, err := k.consul.api.KV().List(prefix, options)
	if err == nil && meta.LastIndex == 0 {
		err = errNotConsul
	}
	if err == nil {
		err = k.consul.complete("key", prefix, len(pairs) == 0, options, meta)
	}
	if err != nil {
		return nil, consulError(ctx, "list keys "+prefix, err)
	}
	out := make([]Entry, 0, len(pairs))
	for _, pair := range pairs {
		if pair != nil {
			out = append(out, entryOf(pair))
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return cmp.Compare(a.Key, b.Key) })
	return out, nil
}

// Watch implements KV.
func (k *consulKV) Watch(ctx context.Context, key string) <-chan Entry { return k.keys.add(ctx, key) }

// followKey publishes a key's entry whenever it changes.
func (k *consulKV) followKey(ctx context.Context, key string, publish func(Entry)) {
	if checkKey(key) != nil { // can never exist
		return
	}
	k.consul.follow(ctx, "key "+key, k.datacenter, func(options *api.QueryOptions) (func(), uint64, error) {
		entry, index, err := k.entry(key, options)
		return func() { publish(entry) }, index, err
	})
}
