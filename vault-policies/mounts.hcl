# Secrets engines and the login of workloads.

mount "wardline/token" {
  type        = "transit"
  description = "Keys that sign join tokens and audit checkpoints."
}

mount "wardline/tenants" {
  type        = "transit"
  description = "Key-encryption keys of records, one a tenant."
}

mount "wardline/kv" {
  type        = "kv"
  options     = { version = "2" }
  description = "Shared secrets, current and previous."
}

mount "wardline/pki" {
  type          = "pki"
  max_lease_ttl = local.intermediate_life
  description   = "The region's intermediate authority."
}

auth "jwt-nomad" {
  type        = "jwt"
  description = "Workload identities of the region's Nomad."
}

locals {
  # Five years, in seconds: the longest an intermediate may live.
  intermediate_life = 5 * 365 * 24 * 3600
}
