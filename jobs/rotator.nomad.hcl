# Rotation of a region's token key, TURN secret and roster secret, each when it is older than its age.
#
#   nomad job run -region=east -var artifact=https://... -var checksum=sha256:... jobs/rotator.nomad.hcl
#   nomad job periodic force -region=east rotator        # now instead of at the next time
#
# It looks every day and mostly does nothing, so a run that was missed is made up for by the next, and one too many does no
# harm. Certificates are not its concern: each component renews its own.

variable "artifact" {
  type        = string
  description = "URL of the wardline binary, as go-getter takes it."
}

variable "checksum" {
  type        = string
  description = "Checksum of the binary: sha256:HEX."
  validation {
    condition     = substr(var.checksum, 0, 7) == "sha256:"
    error_message = "The checksum must be sha256:HEX."
  }
}

variable "release" {
  type        = string
  default     = "dev"
  description = "Version shown in Nomad, such as 1.4.0."
}

variable "node_pool" {
  type        = string
  default     = "gateway"
  description = "Nomad node pool it runs in. It may replace secrets that gateways hold, so theirs."
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "Task driver. raw_exec sees the host's files: the authority of Vault."
}

variable "cron" {
  type        = string
  default     = "17 3 * * *"
  description = "When to look: minute, hour, day of month, month, day of week."
}

variable "time_zone" {
  type        = string
  default     = "UTC"
  description = "Time zone of cron, such as Europe/Berlin."
}

variable "token_age" {
  type        = string
  default     = "720h"
  description = "Age from which the key that signs join tokens is rotated. At least 25h: a token lives up to 24h."
  validation {
    condition     = try(formatdate("YYYYMMDDhhmm", timeadd("2000-01-01T00:00:00Z", var.token_age)) >= 200001020100, false)
    error_message = "The token_age must be a duration such as 720h, at least 25h."
  }
}

variable "turn_age" {
  type        = string
  default     = "720h"
  description = "Age from which the secret of TURN credentials is rotated. At least 25h, so that no credential ends early."
  validation {
    condition     = try(formatdate("YYYYMMDDhhmm", timeadd("2000-01-01T00:00:00Z", var.turn_age)) >= 200001020100, false)
    error_message = "The turn_age must be a duration such as 720h, at least 25h."
  }
}

variable "roster_age" {
  type        = string
  default     = "720h"
  description = "Age from which the secret that seals names in waiting rooms is rotated. At least 25h, as the others."
  validation {
    condition     = try(formatdate("YYYYMMDDhhmm", timeadd("2000-01-01T00:00:00Z", var.roster_age)) >= 200001020100, false)
    error_message = "The roster_age must be a duration such as 720h, at least 25h."
  }
}

variable "vault" {
  type        = string
  default     = "https://vault.service.consul:8200"
  description = "The region's Vault."
  validation {
    condition     = substr(var.vault, 0, 8) == "https://" || substr(var.vault, 0, 2) == "$${"
    error_message = "The address of vault must be https://HOST:PORT, or $${meta.NAME} of the node."
  }
}

variable "vault_ca_file" {
  type        = string
  default     = "/etc/vault.d/ca.pem"
  description = "Authority of Vault's certificate, on the node."
}

variable "cpu" {
  type        = number
  default     = 200
  description = "MHz reserved."
}

variable "memory" {
  type        = number
  default     = 128
  description = "MiB reserved."
}

job "rotator" {
  type        = "batch"
  datacenters = ["*"]
  node_pool   = var.node_pool
  priority    = 60

  meta {
    release = var.release
  }

  periodic {
    crons            = [var.cron]
    time_zone        = var.time_zone
    prohibit_overlap = true
  }

  group "rotator" {
    # What keeps failing waits for the next run, which makes up for it.
    restart {
      attempts = 5
      interval = "1h"
      delay    = "2m"
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "rotator" {
      driver       = var.driver
      kill_timeout = "30s"

      artifact {
        source      = var.artifact
        destination = "local/wardline"
        mode        = "file"
        options {
          checksum = var.checksum
          archive  = "false"
        }
      }

      # Who this task is, to this region's Vault: a file, renewed by Nomad, never in the environment.
      identity {
        name        = "vault"
        aud         = ["vault.io"]
        file        = true
        ttl         = "1h"
        change_mode = "noop"
      }

      config {
        command = "local/wardline"
        args = [
          "secrets",
          "rotate",
          "--vault=${var.vault}",
          "--vault-ca-file=${var.vault_ca_file}",
          "--vault-jwt-file=${NOMAD_SECRETS_DIR}/nomad_vault.jwt",
          "--if-older=token=${var.token_age},turn=${var.turn_age},roster=${var.roster_age}",
          "token", "turn", "roster",
        ]
      }

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
