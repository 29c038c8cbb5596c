# What sfu may do in Vault. Written from the table in table.go: go generate ./vault-policies

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

# To have the own certificate signed.
path "wardline/pki/sign/sfu" {
  capabilities = ["update"]
  allowed_parameters = {
    "csr" = []
  }
}
