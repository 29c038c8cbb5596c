# The relay watches its own agent for maintenance mode, tells how its drain goes, and forwards to SFUs of
# every region only: it must know them.

agent_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

service_prefix "wardline-sfu" {
  policy = "read"
}

service_prefix "wardline-turn" {
  policy = "read"
}

key_prefix "wardline/drain/" {
  policy = "write"
}
