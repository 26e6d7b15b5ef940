package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Attributes of spans beside those of the semantic conventions for messaging.
const (
	// TargetKey is the name of the target, as the config has it.
	TargetKey = attribute.Key("policysync.target")
	// ConnectorKey is the kind of the target, such as "http".
	ConnectorKey = attribute.Key("policysync.connector")
	// PolicyKey is what order is promised for.
	PolicyKey = attribute.Key("policysync.key")
	// EventTypeKey is the event's own type, such as "policyCreated".
	EventTypeKey = attribute.Key("policysync.event.type")
	// EventIDKey is the event's own id.
	EventIDKey = attribute.Key("policysync.event.id")
	// VersionKey is the event's own version.
	VersionKey = attribute.Key("policysync.version")
	// AttemptKey counts the attempts at a delivery, from 1.
	AttemptKey = attribute.Key("policysync.attempt")
	// OutcomeKey is how a delivery settled.
	OutcomeKey = attribute.Key("policysync.outcome")
	// ErrorTypeKey is the class of a failed attempt's error.
	ErrorTypeKey = semconv.ErrorTypeKey
)

// Names of spans. The first two end in the topic, the third in the target.
const (
	spanSend    = "send "
	spanProcess = "process "
	spanDeliver = "deliver "
	spanAttempt = "attempt"
)

// Labels of metrics. Each has a closed set of values: the targets and topics of
// the config, the lists below, and unlisted for anything else, so that no event
// can make a series.
const (
	labelTarget    = "target"
	labelTopic     = "topic"
	labelPartition = "partition"
	labelOutcome   = "outcome"
	labelClass     = "class"
	labelState     = "state"

	unlisted = "unlisted"
)

func attemptOutcomes() []string {
	return append([]string{"success"}, errorClasses()...)
}

func errorClasses() []string {
	return []string{"permanent", "transient", "unavailable", "throttled"}
}

func settledOutcomes() []string {
	return []string{"delivered", "filtered", "superseded", "stale", "dead-lettered"}
}

func breakerStates() []string { return []string{"closed", "open", "half-open"} }

func recordOutcomes() []string { return []string{"decoded", "undecodable"} }

func commitOutcomes() []string { return []string{"success", "failure"} }
