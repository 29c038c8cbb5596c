package discovery

import (
	"encoding/json"
	"net"
	"net/netip"
	"testing"

	"github.com/hashicorp/consul/api"
	"github.com/stretchr/testify/require"
)

func server(address, wan, status string) *api.ServiceEntry {
	return &api.ServiceEntry{
		Node:   &api.Node{Address: address, TaggedAddresses: map[string]string{"wan": wan}},
		Checks: api.HealthChecks{nil, {Status: status}},
	}
}

func TestServerRoutes(t *testing.T) {
	require.Equal(t, []string{"10.0.0.2:8501", "10.0.0.3:8501", "192.0.2.7:8501", "[2001:db8::1]:8501", "10.0.0.1:8501"},
		serverRoutes([]*api.ServiceEntry{
			nil,
			{},
			server("10.0.0.1", "", api.HealthCritical), server("10.0.0.3", "", api.HealthPassing),
			server("10.0.0.2", "", api.HealthPassing), server("10.0.0.2", "", api.HealthPassing),
			server("10.0.0.9", "192.0.2.7", api.HealthPassing), server("2001:db8::1", "", api.HealthPassing),
		}, "8501"), "passing ones first, by the address for other datacenters")
	many := make([]*api.ServiceEntry, 0, 20)
	for i := range 20 {
		many = append(many, server(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}).String(), "", api.HealthPassing))
	}
	require.Len(t, serverRoutes(many, "8501"), maxRoutes)
	for _, address := range []string{
		"", "consul.example.com", "10.0.0.1:22", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "169.254.169.254", "fe80::1%eth0",
		"ff02::1", "user@10.0.0.1", "10.0.0.1/path", " 10.0.0.1", "::ffff:0.0.0.0", "::ffff:169.254.169.254",
	} {
		require.Empty(t, serverRoutes([]*api.ServiceEntry{server(address, "", api.HealthPassing)}, "8501"), address)
	}
}

func TestRoutesInOrder(t *testing.T) {
	r := newConsulRoutes()
	require.Equal(t, []string{ownAgent}, r.to("us"))
	r.worked("us", ownAgent)
	r.learn("us", []string{"a", "b", "c"})
	require.Equal(t, []string{"a", "b", "c", ownAgent}, r.to("us"))
	require.Equal(t, []string{ownAgent}, r.to("ap"))
	r.failed("us", "a")
	require.Equal(t, []string{"b", "c", "a", ownAgent}, r.to("us"))
	r.worked("us", "a")
	require.Equal(t, []string{"a", "b", "c", ownAgent}, r.to("us"))
	r.learn("us", nil)
	require.Equal(t, []string{"a", "b", "c", ownAgent}, r.to("us"), "none are not better than some")
	r.learn("us", []string{"c", "b"})
	require.Equal(t, []string{"c", "b", ownAgent}, r.to("us"), "the one that answered is gone")
	r.worked("us", ownAgent)
	require.Equal(t, []string{ownAgent, "c", "b"}, r.to("us"))
	r.failed("us", ownAgent)
	require.Equal(t, []string{"c", "b", ownAgent}, r.to("us"))
}

func FuzzServerRoutes(f *testing.F) {
	for _, body := range []string{
		"null", "[null]", `[{"Node":{"Address":"10.0.0.1"}}]`, `[{"Node":{"Address":"evil.example:1/x"}}]`,
		`[{"Node":{"Address":"10.0.0.1","TaggedAddresses":{"wan":"::1"}},"Checks":[null,{"Status":"critical"}]}]`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var entries []*api.ServiceEntry
		if json.Unmarshal(body, &entries) != nil {
			return
		}
		routes := serverRoutes(entries, "8501")
		require.LessOrEqual(t, len(routes), maxRoutes)
		for _, route := range routes {
			host, port, err := net.SplitHostPort(route)
			require.NoError(t, err)
			require.Equal(t, "8501", port)
			address, err := netip.ParseAddr(host)
			require.NoError(t, err)
			require.False(t, address.IsUnspecified() || address.IsMulticast() || address.IsLinkLocalUnicast())
		}
	})
}
