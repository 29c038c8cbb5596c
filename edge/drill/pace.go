package drill

import "time"

// pace is how long things are waited for.
type pace struct {
	// ready bounds the time until the cluster is healthy before anything begins: an earlier run may just have ended.
	ready time.Duration
	// join bounds the time until all participants exchange media.
	join time.Duration
	// ask is how often the cluster's health is asked for.
	ask time.Duration
	// cleanup bounds healing and ending visits after an interruption.
	cleanup time.Duration
}

var normalPace = pace{ready: 30 * time.Second, join: time.Minute, ask: time.Second, cleanup: time.Minute}
