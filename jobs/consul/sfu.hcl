# The media server watches its own agent for maintenance mode and tells how its drain goes. It cannot
# change maintenance mode: that takes node:write, which operators and the autoscaler hold.

agent_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

# Its own checks, and the SFUs it links to.
service_prefix "wardline-sfu" {
  policy = "read"
}

key_prefix "wardline/drain/" {
  policy = "write"
}
