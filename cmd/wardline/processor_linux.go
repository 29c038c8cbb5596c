package main

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// processorTime measures user and system time of a process on this machine, by the clock that the kernel has for each process
// (clock_getcpuclockid(3)): /proc tells it in steps of 10 ms, which is much of what a short measurement is about.
func processorTime(pid int) (func() (time.Duration, error), error) {
	const scheduled = 2 // CPUCLOCK_SCHED of the kernel
	clock := int32(^pid<<3 | scheduled)
	used := func() (time.Duration, error) {
		var spent unix.Timespec
		if err := unix.ClockGettime(clock, &spent); err != nil {
			return 0, fmt.Errorf("processor time of process %d: %w", pid, err)
		}
		return time.Duration(spent.Nano()), nil
	}
	_, err := used()
	return used, err
}
