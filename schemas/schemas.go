// Package schemas holds the Avro schemas of the platform's events, and beside them
// golden records: each as JSON, as the Avro bytes that stand for it, and, for the
// platform's other spelling, as the JSON of its projection.
//
// They are an offer. Nothing in policysync knows a field of them: a user's own
// schema works the same way.
package schemas

import _ "embed"

// PolicyEvent describes one change of one policy.
//
//go:embed policy_event.avsc
var PolicyEvent string

// ProcessEvent describes one change of one process.
//
//go:embed process_event.avsc
var ProcessEvent string

// PolicyEventSystemData is PolicyEvent as a writer spells it that says system for
// target and data for payload.
//
//go:embed policy_event_system_data.avsc
var PolicyEventSystemData string

// ProcessEventSystemData is ProcessEvent in that other spelling.
//
//go:embed process_event_system_data.avsc
var ProcessEventSystemData string
