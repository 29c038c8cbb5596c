# The media server watches its own agent for maintenance mode, and finds who else there is. It cannot
# change maintenance mode: that takes node:write, which operators and the autoscaler hold.

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

# Its own checks, the SFUs that it links to, and who else there is.
service_prefix "wardline-" {
  policy = "read"
}
