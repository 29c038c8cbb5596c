package peers

// Unconfirmed is how many announced addresses the catalog has not shown, those that lapsed lately included.
func (s *Set) Unconfirmed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLapsed()
	return len(s.announced)
}
