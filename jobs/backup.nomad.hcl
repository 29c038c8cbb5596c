# Snapshots of a region's Vault, in a folder of a node.
#
#   nomad job run -region=east -var artifact=https://... -var checksum=sha256:... -var node=east-gateway-1 jobs/backup.nomad.hcl
#   nomad job periodic force -region=east backup        # now instead of at the next time
#
# A snapshot is sealed as Vault's storage is. Bring the folder to another place, and the unseal keys to yet another.

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
  description = "Nomad node pool it runs in. It sees nothing but what is sealed."
}

variable "driver" {
  type        = string
  default     = "raw_exec"
  description = "Task driver. raw_exec sees the host's files: the authority of Vault, the folder of snapshots."
}

variable "cron" {
  type        = string
  default     = "43 * * * *"
  description = "When to take one: minute, hour, day of month, month, day of week."
}

variable "time_zone" {
  type        = string
  default     = "UTC"
  description = "Time zone of cron, such as Europe/Berlin."
}

variable "node" {
  type        = string
  default     = ""
  description = "Name of the node whose folder it is. Empty: any of the pool, for a folder that all of them share."
}

variable "folder" {
  type        = string
  default     = "/var/backups/wardline-vault"
  description = "Folder of the snapshots, made if need be. Best a file system that is not lost together with Vault."
  validation {
    condition     = substr(var.folder, 0, 1) == "/"
    error_message = "The folder must be an absolute path: one in the task would go with it."
  }
}

variable "keep" {
  type        = number
  default     = 72
  description = "How many snapshots stay in the folder, the newest."
  validation {
    condition     = var.keep >= 1
    error_message = "The keep must be at least 1."
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

job "backup" {
  type        = "batch"
  datacenters = ["*"]
  node_pool   = var.node_pool
  priority    = 60

  dynamic "constraint" {
    for_each = var.node == "" ? [] : [var.node]
    content {
      attribute = "$${node.unique.name}"
      value     = constraint.value
    }
  }

  meta {
    release = var.release
  }

  periodic {
    crons            = [var.cron]
    time_zone        = var.time_zone
    prohibit_overlap = true
  }

  group "backup" {
    # What keeps failing waits for the next run.
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

    task "backup" {
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
          "backup",
          "--vault=${var.vault}",
          "--vault-ca-file=${var.vault_ca_file}",
          "--vault-jwt-file=${NOMAD_SECRETS_DIR}/nomad_vault.jwt",
          "--dir=${var.folder}",
          "--keep=${var.keep}",
        ]
      }

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
