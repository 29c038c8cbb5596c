# A person on call: sees everything of Wardline and switches maintenance mode. Not a component: no Nomad job
# may get this, see policies.go.

agent_prefix "" {
  policy = "read"
}

# Maintenance mode of a node is switched at its own agent.
node_prefix "" {
  policy = "write"
}

service "consul" {
  policy = "read"
}

# Maintenance mode of one instance.
service_prefix "wardline-" {
  policy = "write"
}

key_prefix "wardline/" {
  policy = "read"
}

# The public API keys of tenants.
key_prefix "wardline/tenants/" {
  policy = "write"
}

# How a drain goes, where what wrote it is gone.
key_prefix "wardline/drain/" {
  policy = "write"
}
