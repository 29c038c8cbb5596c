# What auditor may do in Vault. Written from the table in table.go: go generate ./vault-policies

# To look at, renew and end the own token.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

# To look at, renew and end the own token.
path "auth/token/renew-self" {
  capabilities = ["update"]
}

# To look at, renew and end the own token.
path "auth/token/revoke-self" {
  capabilities = ["update"]
}

# To publish the keys that verify join tokens.
path "wardline/token/keys/join-token" {
  capabilities = ["read"]
}

# To verify checkpoints of the audit trail.
path "wardline/token/keys/audit-checkpoint" {
  capabilities = ["read"]
}

# To see when they were rotated.
path "wardline/kv/metadata/shared/+" {
  capabilities = ["read"]
}

# To see which tenants have keys, and their versions.
path "wardline/tenants/keys" {
  capabilities = ["list"]
}

# To see which tenants have keys, and their versions.
path "wardline/tenants/keys/+" {
  capabilities = ["read"]
}

# To compare what is set up with what should be.
path "sys/policies/acl" {
  capabilities = ["list"]
}

# To compare what is set up with what should be.
path "sys/policies/acl/+" {
  capabilities = ["read"]
}

# To compare what is set up with what should be.
path "sys/mounts" {
  capabilities = ["read"]
}

# To compare what is set up with what should be.
path "sys/auth" {
  capabilities = ["read"]
}

# To compare what is set up with what should be.
path "auth/jwt-nomad/config" {
  capabilities = ["read"]
}

# To compare what is set up with what should be.
path "auth/jwt-nomad/role/+" {
  capabilities = ["read"]
}

# To compare what is set up with what should be.
path "wardline/pki/roles/+" {
  capabilities = ["read"]
}

# To see where Vault's own audit log goes.
path "sys/audit" {
  capabilities = ["read", "sudo"]
}
