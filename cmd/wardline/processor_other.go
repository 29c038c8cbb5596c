//go:build !linux

package main

import (
	"errors"
	"time"
)

func processorTime(int) (func() (time.Duration, error), error) {
	return nil, errors.New("a process's processor time is measured on Linux only")
}
