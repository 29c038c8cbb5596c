# The gateway finds SFUs, relays and other gateways, and keeps encounter records.

# Health of service instances includes the checks of their nodes.
node_prefix "" {
  policy = "read"
}

service_prefix "wardline-" {
  policy = "read"
}

# Lookups across regions: nearest healthy datacenter first.
query_prefix "wardline-" {
  policy = "read"
}

key_prefix "wardline/" {
  policy = "read"
}

key_prefix "wardline/encounters/" {
  policy = "write"
}
