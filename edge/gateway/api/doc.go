// Package api is the tenant's HTTP API: a hospital's application makes encounters, gets join links
// for its people, ends encounters and reads how good the media was. docs/openapi.yaml describes it.
//
// Names of people go into join tokens and nowhere else: not into records, logs or the key-value store.
package api
