package encounter

import (
	"context"
	"errors"
)

// Errors of a Store, wrapped with the key.
var (
	ErrNotFound = errors.New("encounter not found")
	ErrConflict = errors.New("encounter changed by somebody else")
)

// Store keeps encounters. Implementations pass the conformance suite encountertest.
type Store interface {
	// Get reads an encounter; ErrNotFound if there is none.
	Get(ctx context.Context, key Key) (Encounter, error)
	// CompareAndSet writes e if the stored revision is still e.Revision (0: if there is none) and
	// returns it with its new revision, otherwise ErrConflict.
	CompareAndSet(ctx context.Context, e Encounter) (Encounter, error)
	// Watch sends the encounter now (if it exists) and after every change until ctx ends, then closes.
	// A slow reader misses intermediate values, never the last one.
	Watch(ctx context.Context, key Key) <-chan Encounter
	// List returns every encounter of a tenant, or of all tenants for "". Damaged records are left out and
	// named in the error (ErrDamaged), which then comes beside the others.
	List(ctx context.Context, tenant string) ([]Encounter, error)
	// Delete removes a record if the stored revision is still e.Revision, otherwise ErrConflict. Deleting
	// what is not there is no error.
	Delete(ctx context.Context, e Encounter) error
}
