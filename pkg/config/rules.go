package config

import (
	"regexp"
	"slices"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// targetName is what a target may be called: the name is part of metrics,
// headers and checkpoints.
var targetName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// checkRules finds settings that are each well but contradict one another. A
// setting that is a mistake by itself is left alone.
func (d *decoder) checkRules(c *Config) {
	names := make([]string, len(c.Targets))
	for i := range c.Targets {
		t := &c.Targets[i]
		names[i] = t.Name
		if !targetName.MatchString(t.Name) {
			d.rule("targets."+t.Name, "%q is no name for a target: want a letter, then up to 63 letters, digits, _ and -", t.Name)
		}
		d.checkTarget(c, t)
	}
	if err := checkpoint.Check(names); err != nil {
		d.rule("targets", "%v", err)
	}
	if c.DrainTimeout >= kafka.RebalanceTimeout {
		d.rule("drain_timeout", "%v is not less than the rebalance timeout, %v: the group would go on without this member", c.DrainTimeout, kafka.RebalanceTimeout)
	}
	d.checkTopics(c)
}

// checkTopics finds a topic with two uses, and reader schemas of topics that
// nobody reads.
func (d *decoder) checkTopics(c *Config) {
	use := map[string]string{}
	for _, topic := range c.Kafka.Topics {
		use[topic] = "kafka.topics"
	}
	for _, own := range []struct{ path, topic string }{
		{"dead_letters.topic", c.DeadLetters.Topic},
		{"receipts.topic", c.Receipts.Topic},
		{"control.topic", c.Control.Topic},
	} {
		if other, ok := use[own.topic]; ok {
			d.rule(own.path, "topic %q is in %s too", own.topic, other)
		}
		use[own.topic] = own.path
	}
	for topic := range c.Schemas.Reader {
		if !slices.Contains(c.Kafka.Topics, topic) {
			d.rule("schemas.reader."+topic, "%q is not one of kafka.topics%s", topic, suggest(topic, c.Kafka.Topics))
		}
	}
}

func (d *decoder) checkTarget(c *Config, t *Target) {
	at := "targets." + t.Name
	if d.faulty(at) || d.faulty("kafka") || d.faulty("drain_timeout") {
		return
	}
	if t.Window.Deliveries < t.Batch.Size {
		d.rule(at+".window.deliveries", "%d is less than batch.size, %d: no batch would ever be full", t.Window.Deliveries, t.Batch.Size)
	}
	if t.Timeout > c.DrainTimeout {
		d.rule(at+".timeout", "%v is more than drain_timeout, %v: an attempt in flight could not end before its partition is given up", t.Timeout, c.DrainTimeout)
	}
	// With the consumer protocol the session timeout is the broker's to say.
	if beats := 2 * c.Kafka.HeartbeatInterval(); c.Kafka.GroupProtocol == "classic" && t.Timeout+beats >= c.Kafka.SessionTimeout {
		d.rule(at+".timeout", "%v and two heartbeat intervals are %v, which is not less than kafka.session_timeout, %v: no attempt could start", t.Timeout, t.Timeout+beats, c.Kafka.SessionTimeout)
	}
	if t.Retry.Initial > t.Retry.Max {
		d.rule(at+".retry.initial", "%v is more than retry.max, %v", t.Retry.Initial, t.Retry.Max)
	}
	if t.Breaker.OpenFor > t.Breaker.OpenMax {
		d.rule(at+".breaker.open_for", "%v is more than breaker.open_max, %v", t.Breaker.OpenFor, t.Breaker.OpenMax)
	}
	for _, topic := range t.Topics {
		if !slices.Contains(c.Kafka.Topics, topic) {
			d.rule(at+".topic", "%q is not one of kafka.topics%s", topic, suggest(topic, c.Kafka.Topics))
		}
	}
}

// rule reports a mistake at the key of path, unless there is one already.
func (d *decoder) rule(path, format string, args ...any) {
	if !d.faulty(path) {
		d.rejectKey(path, format, args...)
	}
}
