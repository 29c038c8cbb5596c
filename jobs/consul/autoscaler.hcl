# The autoscaler takes nodes in and out of service: maintenance mode at their own agents, in every region.

agent_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "write"
}

# Where the servers of other regions are, see core/discovery.
service "consul" {
  policy = "read"
}

service_prefix "wardline-" {
  policy = "read"
}

key_prefix "wardline/" {
  policy = "read"
}

# One autoscaler acts at a time: the leader lock is a key that a session locks.
key "wardline/leaders/autoscaler" {
  policy = "write"
}

session_prefix "" {
  policy = "write"
}
