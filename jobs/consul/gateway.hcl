# The gateway finds SFUs, relays and other gateways, and keeps encounter records.

# A start asks the node's own agent where it is.
agent_prefix "" {
  policy = "read"
}

# Health of service instances includes the checks of their nodes.
node_prefix "" {
  policy = "read"
}

# Where the servers of other regions are, so that they are reached while the own ones are down.
service "consul" {
  policy = "read"
}

service_prefix "wardline-" {
  policy = "read"
}

# Among it tenants' public API keys, which operators write.
key_prefix "wardline/" {
  policy = "read"
}

key_prefix "wardline/encounters/" {
  policy = "write"
}
