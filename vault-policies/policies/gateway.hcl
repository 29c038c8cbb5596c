# What gateway may do in Vault. Written from the table in table.go: go generate ./vault-policies

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

# To sign join tokens with a key that cannot be taken out.
path "wardline/token/sign/join-token" {
  capabilities = ["update"]
}

# To publish the keys that verify join tokens.
path "wardline/token/keys/join-token" {
  capabilities = ["read"]
}

# To sign checkpoints of the audit trail it writes.
path "wardline/token/sign/audit-checkpoint" {
  capabilities = ["update"]
}

# To mint and verify TURN credentials.
path "wardline/kv/data/shared/turn" {
  capabilities = ["read"]
}

# To seal and open display names.
path "wardline/kv/data/shared/roster" {
  capabilities = ["read"]
}

# To have the own certificate signed.
path "wardline/pki/sign/gateway" {
  capabilities = ["update"]
  allowed_parameters = {
    "csr" = []
  }
}

# To make data keys for new records.
path "wardline/tenants/datakey/plaintext/+" {
  capabilities = ["update"]
}

# To open data keys of records.
path "wardline/tenants/decrypt/+" {
  capabilities = ["update"]
}

# To renew the wrapping without seeing the key.
path "wardline/tenants/rewrap/+" {
  capabilities = ["update"]
}
