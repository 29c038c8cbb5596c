package quality

// Limit replaces MaxKept.
func (l *Log) Limit(most int) { l.most = most }

// Kept is what MaxKept bounds.
func (l *Log) Kept() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.kept
}
