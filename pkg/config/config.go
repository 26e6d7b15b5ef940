// Package config turns one YAML file into typed values, strictly: an unknown key,
// a wrong type, a bad expression or two settings that contradict each other are
// mistakes, and [Load] reports all of them at once with line, column and the
// nearest valid word.
//
// It owns the decoder, the top level of the file and the rules that span several
// parts of it. What a part means is said by the package that uses it, in a struct
// whose tags the decoder obeys:
//
//	yaml:"name"        the key; "-" for none. An embedded struct shares its parent's mapping
//	default:"10s"      the value when the key is missing
//	required:"true"    the key must be given
//	oneof:"a b"        the values of a text
//	min:"1" max:"10"   inclusive bounds of a number, a duration or a size
//	vars:"response"    variables that expressions below see beyond the standard ones
//	want:"bool"        what an expression must result in
//
// Any scalar may hold ${NAME} or ${NAME:default}, taken from the environment; $$
// stands for one dollar sign. Anchors, aliases and merge keys work as in YAML 1.1.
package config

import (
	"fmt"
	"time"

	"github.com/hms-sme/policysync/pkg/admin"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/decode"
	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/mapping"
	"github.com/hms-sme/policysync/pkg/redact"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// Config is the whole file.
type Config struct {
	Kafka   kafka.Config        `yaml:"kafka"`
	Schemas decode.Config       `yaml:"schemas"`
	Event   mapping.EventConfig `yaml:"event"`
	// Lookups are tables for expressions, a JSON or YAML file by name.
	Lookups    mapping.Lookups `yaml:"lookups"`
	Route      Route           `yaml:"route"`
	Checkpoint Checkpoint      `yaml:"checkpoint"`
	// DrainTimeout is how long attempts in flight may take to end when a partition is
	// given away or the member stops, less than the group's session timeout. Unless given it is
	// no more than three quarters of that.
	DrainTimeout time.Duration `yaml:"drain_timeout" default:"15s" min:"1ms"`
	DeadLetters  DeadLetters   `yaml:"dead_letters"`
	Receipts     Receipts      `yaml:"receipts"`
	Control      Control       `yaml:"control"`
	// Memory is what the process should take, beside some 32KiB for each attempt that
	// the targets' `concurrency` allows. An eighth of it bounds what all lanes hold
	// together, beside the window of each; what does not fit waits in Kafka. Another
	// is for what `deliver: latest` has to know of policies beyond its window, some 100
	// bytes and the key for each; one more for receipts that are not acknowledged. Go
	// collects garbage more often rather than take more; a GOMEMLIMIT that is lower stays.
	Memory connector.Bytes `yaml:"memory" default:"128MiB" min:"16MiB"`
	// Redact are the fields whose values stand in no error text, beside those that a
	// schema calls sensitive.
	Redact    []redact.Path    `yaml:"redact"`
	Health    admin.Health     `yaml:"health"`
	Admin     admin.Config     `yaml:"admin"`
	Telemetry telemetry.Config `yaml:"telemetry"`
	// Targets are in the order of the file.
	Targets []Target `yaml:"targets" required:"true"`

	source      *source
	placeOf     func(path string) connector.Place
	places      map[string]connector.Place
	mistakes    []Mistake
	expressions []expression
}

// Route says what becomes of an event that names a target that is not configured.
type Route struct {
	// Unknown is "dead_letter", or "ignore" where several groups share a topic.
	Unknown string `yaml:"unknown" default:"dead_letter" oneof:"dead_letter ignore"`
}

// Checkpoint says how often progress is committed: after Interval or after Every
// settled deliveries of a partition, whichever is first.
type Checkpoint struct {
	Interval time.Duration `yaml:"interval" default:"200ms" min:"1ms"`
	Every    int           `yaml:"every" default:"250" min:"1"`
}

// DeadLetters is the topic of what could not be delivered.
type DeadLetters struct {
	// Topic is GROUP.dead-letters unless given.
	Topic string `yaml:"topic"`
	// Content is "full", the record's own bytes, or "reference", its position only.
	Content string `yaml:"content" default:"full" oneof:"full reference"`
	// Retention is how long the topic keeps a letter; 0 means for ever.
	Retention time.Duration `yaml:"retention" default:"0s" min:"0s"`
	// HoldRatio is the share of permanent failures among the last 20 keys above
	// which a lane is held, because so many bad events are a changed target.
	HoldRatio float64 `yaml:"hold_ratio" default:"0.5" min:"0" max:"1"`
}

// Receipts is the topic that keeps which version each target has, and how the members
// are.
type Receipts struct {
	// Off is set by `receipts: off`: nothing is kept of policies. Members still tell how
	// they are, under the topic's default name.
	Off bool `yaml:"-"`
	// Topic is GROUP.receipts unless given.
	Topic string `yaml:"topic"`
}

// UnmarshalScalar reads the short form, `off`.
func (r *Receipts) UnmarshalScalar(text string) error {
	if text != "off" {
		return fmt.Errorf("want off or a mapping, have %q", text)
	}
	r.Off = true
	return nil
}

// Control is the topic of operators' commands.
type Control struct {
	// Topic is GROUP.control unless given.
	Topic string `yaml:"topic"`
}

// Target is one configured external system.
type Target struct {
	Name string `yaml:"-"`
	// Connector is the kind of external system; its page has further keys.
	Connector string `yaml:"connector" required:"true"`
	// When filters: only events for which it holds are delivered.
	When *connector.Expr `yaml:"when" want:"bool"`
	// Topics are the topics whose events this target takes; empty means all. Its
	// expressions are checked against the schemas of these topics only.
	Topics            Topics `yaml:"topic"`
	delivery.Settings `yaml:",inline"`
	// Spec is what Kind.Config made, filled in. Its keys stand beside the others.
	Spec any `yaml:"-"`
}

// Entry lets the decoder read targets as a mapping that keeps its order.
func (t *Target) Entry() (name *string, value any) { return &t.Name, t }

// Topics is one topic or a list of them.
type Topics []string

// UnmarshalScalar reads the short form, a single topic.
func (t *Topics) UnmarshalScalar(text string) error {
	*t = Topics{text}
	return nil
}
