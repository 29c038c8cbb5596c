# How the drain of a relay goes, in its own region: operators stop what is said to be drained. The key is as
# narrow as Consul can tell: a workload identity names the job, not the node.
key_prefix "wardline/drain/turn/" {
  policy = "write"
}
