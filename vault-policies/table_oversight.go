package vaultpolicies

import "github.com/wardline/wardline/core/secrets"

const snapshot = "sys/storage/raft/snapshot"

// oversightGroups is how Vault is set up, for those who check it.
func oversightGroups() []Group {
	read := []string{"read"}
	return []Group{
		{
			Name: "read policies and roles", Why: "compare what is set up with what should be",
			Rules: []Rule{
				{Path: "sys/policies/acl", Capabilities: []string{"list"}},
				{Path: "sys/policies/acl/+", Capabilities: read},
				{Path: "sys/mounts", Capabilities: read},
				{Path: "sys/auth", Capabilities: read},
				{Path: "auth/" + secrets.LoginMount + "/config", Capabilities: read},
				{Path: "auth/" + secrets.LoginMount + "/role/+", Capabilities: read},
				{Path: secrets.PKIMount + "/roles/+", Capabilities: read},
			},
			Who: []Component{Auditor},
			Probes: []Probe{
				{Method: "LIST", Path: "sys/policies/acl"},
				{Method: "GET", Path: "sys/policies/acl/" + Gateway.PolicyName()},
				{Method: "GET", Path: "sys/mounts"},
				{Method: "GET", Path: "sys/auth"},
				{Method: "GET", Path: "auth/" + secrets.LoginMount + "/config"},
				{Method: "GET", Path: "auth/" + secrets.LoginMount + "/role/" + string(Gateway)},
				{Method: "GET", Path: secrets.PKIMount + "/roles/" + string(Gateway)},
			},
		},
		{
			Name: "read audit devices", Why: "see where Vault's own audit log goes",
			Rules:  []Rule{{Path: "sys/audit", Capabilities: []string{"read", "sudo"}}},
			Who:    []Component{Auditor},
			Probes: []Probe{{Method: "GET", Path: "sys/audit"}},
		},
		{
			Name: "take snapshots", Why: "keep a copy of the storage, which opens with the seal's key only",
			Rules:  []Rule{{Path: snapshot, Capabilities: read}},
			Who:    []Component{Backup, Operator},
			Probes: []Probe{{Method: "GET", Path: snapshot}},
		},
	}
}

// forbiddenGroups is what no component may do. The paths are in no policy; they are here to be tried.
func forbiddenGroups() []Group {
	forbid := func(name string, probes ...Probe) Group { return Group{Name: name, Probes: probes} }
	keys := secrets.TenantMount + "/keys"
	longLived := make([]Probe, 0, len(Servers()))
	for _, server := range Servers() {
		longLived = append(longLived, Probe{
			Method: "PUT", Path: secrets.PKIMount + "/sign/" + string(server), Body: map[string]any{"not_after": "2099-01-01T00:00:00Z"},
		})
	}
	return []Group{
		forbid("certificates for longer", longLived...),
		forbid("take keys out",
			Probe{Method: "GET", Path: secrets.TokenMount + "/export/signing-key/" + secrets.TokenKey},
			Probe{Method: "GET", Path: secrets.TokenMount + "/backup/" + secrets.TokenKey},
			Probe{Method: "GET", Path: secrets.TenantMount + "/export/encryption-key/probe-tenant"},
			Probe{Method: "GET", Path: secrets.TenantMount + "/backup/probe-tenant"},
		),
		forbid("make keys exportable or deletable",
			Probe{Method: "PUT", Path: tokenKey + "/config", Body: map[string]any{"exportable": true}},
			Probe{Method: "PUT", Path: tokenKey + "/config", Body: map[string]any{"deletion_allowed": true}},
			Probe{Method: "PUT", Path: keys + probed, Body: map[string]any{"type": "aes256-gcm96", "exportable": true}},
			Probe{Method: "PUT", Path: keys + probed + "/config", Body: map[string]any{"deletion_allowed": true}},
		),
		forbid("destroy keys and secrets",
			Probe{Method: "DELETE", Path: keys + probed},
			Probe{Method: "DELETE", Path: tokenKey},
			Probe{Method: "DELETE", Path: sharedMeta + secrets.TURNSecret},
			Probe{Method: "DELETE", Path: sharedData + secrets.TURNSecret},
		),
		forbid("other secrets",
			Probe{Method: "GET", Path: secrets.SharedMount + "/data/other"},
			Probe{Method: "LIST", Path: secrets.SharedMount + "/metadata"},
			Probe{Method: "PUT", Path: sharedData + "other", Body: map[string]any{"data": map[string]any{"value": "probe"}}},
			Probe{Method: "PUT", Path: secrets.TenantMount + "/encrypt/probe-tenant", Body: map[string]any{"plaintext": "cHJvYmU="}},
			Probe{Method: "GET", Path: "cubbyhole/probe"},
		),
		forbid("the authority itself",
			Probe{Method: "PUT", Path: secrets.PKIMount + "/issue/" + string(Gateway)},
			Probe{Method: "PUT", Path: secrets.PKIMount + "/sign-verbatim"},
			Probe{Method: "PUT", Path: secrets.PKIMount + "/root/sign-intermediate"},
			Probe{Method: "PUT", Path: secrets.PKIMount + "/roles/" + string(Gateway), Body: map[string]any{"allow_any_name": true}},
			Probe{Method: "PUT", Path: secrets.PKIMount + "/config/issuers"},
		),
		forbid("more rights",
			Probe{Method: "PUT", Path: "auth/token/create"},
			Probe{Method: "PUT", Path: "sys/policies/acl/" + Gateway.PolicyName(), Body: map[string]any{"policy": ""}},
			Probe{Method: "PUT", Path: "auth/" + secrets.LoginMount + "/role/" + string(Gateway)},
			Probe{Method: "PUT", Path: "identity/entity"},
		),
		forbid("Vault itself",
			Probe{Method: "PUT", Path: "sys/mounts/probe", Body: map[string]any{"type": "kv"}},
			Probe{Method: "PUT", Path: "sys/audit/probe", Body: map[string]any{"type": "file"}},
			Probe{Method: "DELETE", Path: "sys/audit/probe"},
			Probe{Method: "PUT", Path: "sys/seal"},
			Probe{Method: "PUT", Path: "sys/rotate"},
		),
		// It brings back what was retired or revoked since, so it is not an operator's day.
		forbid("restore snapshots",
			Probe{Method: "PUT", Path: snapshot},
			Probe{Method: "PUT", Path: snapshot + "-force"},
		),
	}
}
