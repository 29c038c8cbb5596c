# What operator may do in Vault. Written from the table in table.go: go generate ./vault-policies

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

# To make a new version and retire those before the previous one.
path "wardline/token/keys/join-token/rotate" {
  capabilities = ["update"]
}

# To make a new version and retire those before the previous one.
path "wardline/token/keys/join-token/config" {
  capabilities = ["update"]
  allowed_parameters = {
    "min_decryption_version" = []
  }
}

# To verify checkpoints of the audit trail.
path "wardline/token/keys/audit-checkpoint" {
  capabilities = ["read"]
}

# To write a new version without being able to read one.
path "wardline/kv/data/shared/turn" {
  capabilities = ["create", "update"]
}

# To write a new version without being able to read one.
path "wardline/kv/data/shared/roster" {
  capabilities = ["create", "update"]
}

# To see when they were rotated.
path "wardline/kv/metadata/shared/+" {
  capabilities = ["read"]
}

# To renew the wrapping without seeing the key.
path "wardline/tenants/rewrap/+" {
  capabilities = ["update"]
}

# To make a tenant's key and new versions of it, never an exportable one.
# To see which tenants have keys, and their versions.
path "wardline/tenants/keys/+" {
  capabilities = ["create", "read", "update"]
  allowed_parameters = {
    "type" = ["aes256-gcm96"]
  }
}

# To make a tenant's key and new versions of it, never an exportable one.
path "wardline/tenants/keys/+/rotate" {
  capabilities = ["update"]
}

# To see which tenants have keys, and their versions.
path "wardline/tenants/keys" {
  capabilities = ["list"]
}

# To keep a copy of the storage, which opens with the seal's key only.
path "sys/storage/raft/snapshot" {
  capabilities = ["read"]
}
