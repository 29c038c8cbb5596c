# What rotator may do in Vault. Written from the table in table.go: go generate ./vault-policies

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
