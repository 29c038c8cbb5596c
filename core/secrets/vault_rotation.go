package secrets

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Rotation is what became of a secret that was to be rotated if it is old.
type Rotation struct {
	// Done says that there is a new version.
	Done bool
	// Age is how old the version in use was, by Vault's clock: that of before where Done is set. It is zero where there
	// was none.
	Age time.Duration
}

// errNoTime says that a version cannot be judged by its age.
var errNoTime = errors.New("Vault does not say when the version in use was made")

// RotateTokenKeyIfOlder is RotateTokenKey where the newest version is older than age, and does nothing otherwise. It
// may run twice at once, or again after an answer that was lost: the version that was in use before keeps verifying.
func (v *Vault) RotateTokenKeyIfOlder(ctx context.Context, age time.Duration) (Rotation, error) {
	versions, err := v.readTokenVersions(ctx)
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate token key: %w", err)
	}
	found, due, err := v.due(ctx, versions[0].made, age)
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate token key: %w", err)
	}
	if !due {
		return found, nil
	}
	// Transit rotates for everybody who asks, so what keeps verifying is what was seen, not the last but one.
	found.Done = true
	return found, v.rotateTokenKey(ctx, versions.latest())
}

// RotateSharedIfOlder is RotateShared where the newest version is older than age or there is none, and does nothing
// otherwise. Of several at once one rotates.
func (v *Vault) RotateSharedIfOlder(ctx context.Context, name string, age time.Duration) (Rotation, error) {
	if err := checkSharedName(name); err != nil {
		return Rotation{}, err
	}
	found, err := v.rotateSharedOnce(ctx, name, age)
	if errors.Is(err, errRejected) {
		found, err = v.rotateSharedOnce(ctx, name, age) // what another one made meanwhile is young
	}
	if err != nil {
		return Rotation{}, fmt.Errorf("rotate shared secret %q: %w", name, err)
	}
	return found, nil
}

func (v *Vault) rotateSharedOnce(ctx context.Context, name string, age time.Duration) (Rotation, error) {
	latest, made, err := v.sharedVersion(ctx, name)
	if err != nil {
		return Rotation{}, err
	}
	found, due := Rotation{}, latest == 0
	if !due {
		if found, due, err = v.due(ctx, made, age); err != nil || !due {
			return found, err
		}
	}
	found.Done = true
	return found, v.replaceShared(ctx, name, latest)
}

// due reports how old a version is and whether that is more than age.
func (v *Vault) due(ctx context.Context, made time.Time, age time.Duration) (Rotation, bool, error) {
	if made.IsZero() {
		return Rotation{}, false, errNoTime
	}
	// Vault wrote the time, so it is compared with Vault's clock; a clock here that is days ahead would rotate early.
	offset, known := v.client.clockOffset(ctx)
	if !known {
		return Rotation{}, false, fmt.Errorf("vault sys/health: %w: the time there is not known", ErrUnavailable)
	}
	old := time.Now().Add(offset).Sub(made)
	return Rotation{Age: max(0, old)}, old > age, nil
}
