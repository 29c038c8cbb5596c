//go:build linux

package main

import (
	"fmt"
	"os"
	"strings"
)

// receivingSide tells Linux which processors the receiving side of the loopback interface runs on (RPS,
// Documentation/networking/scaling.rst); on none, it is part of the sender's system calls.
const receivingSide = "/sys/class/net/lo/queues/rx-0/rps_cpus"

// setApart has a processor do the receiving side, as the receivers' own machines would, until restored.
func setApart(file string, cpu int) (restore func() error, err error) {
	before, err := os.ReadFile(file)
	if err == nil {
		err = os.WriteFile(file, []byte(cpuMask(cpu)), 0)
	}
	if err != nil {
		return nil, fmt.Errorf("--receivers-apart on processor %d: %w (it takes root, and a processor that is there)", cpu, err)
	}
	return func() error { return os.WriteFile(file, before, 0) }, nil
}

// cpuMask is one processor as the kernel reads it: 32 of them a group of hexadecimal digits.
func cpuMask(cpu int) string {
	return fmt.Sprintf("%08x", 1<<(cpu%32)) + strings.Repeat(",00000000", cpu/32)
}
