# Keys that never leave Vault, and shared secrets. Tenants' keys are made by "wardline tenant add".

object "wardline/token/keys/join-token" {
  # What a key is made with; a key that is otherwise is reported, since it cannot be changed back.
  fixed = {
    type                   = "ed25519"
    exportable             = false
    allow_plaintext_backup = false
  }
}

object "wardline/token/keys/audit-checkpoint" {
  fixed = {
    type                   = "ed25519"
    exportable             = false
    allow_plaintext_backup = false
  }
}

object "wardline/kv/config" {
  data = {
    # The current secret and the previous one.
    max_versions = 2
    # Two rotations at once must not count as one.
    cas_required = true
  }
}

shared "turn" {}

shared "roster" {}
