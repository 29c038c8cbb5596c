# The relay watches its own agent for maintenance mode, and forwards to SFUs of every region only: it must know
# them.

agent_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

# Where the servers of other regions are, so that they are reached while the own ones are down.
service "consul" {
  policy = "read"
}

# Its own checks, and the SFUs.
service_prefix "wardline-" {
  policy = "read"
}
