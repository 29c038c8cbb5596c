package quality

// Limit replaces maxKept.
func (l *Log) Limit(most int) { l.most = most }

// Kept is what maxKept bounds.
func (l *Log) Kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}
