package discovery

import "testing"

// StartConsulForTest runs a real Consul server until the test ends and returns how to reach it.
func StartConsulForTest(t *testing.T) ConsulConfig {
	t.Helper()
	return startConsul(t).config()
}
