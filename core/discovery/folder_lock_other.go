//go:build !unix || aix || solaris

package discovery

import (
	"errors"
	"os"
)

var errNoFlock = errors.New("a shared discovery folder needs flock, which this system lacks")

func lockFile(string) (*os.File, error) { return nil, errNoFlock }

func tryLockFile(string) (*os.File, error) { return nil, errNoFlock }
