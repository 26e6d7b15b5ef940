package config

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/checkpoint"
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// targetName is what a target may be called: the name is part of metrics,
// headers and checkpoints.
var targetName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// redactPath is the way down an event.
var redactPath = regexp.MustCompile(`^event(\.[^.\s]+)+$`)

// checkRules finds settings that are each well but contradict one another. A
// setting that is a mistake by itself is left alone.
func (d *decoder) checkRules(c *Config) {
	classic := c.Kafka.GroupProtocol == "classic" && !d.faulty("kafka")
	if classic {
		c.fitDrain(c.Kafka.SessionTimeout, d.places)
	}
	names := make([]string, len(c.Targets))
	for i := range c.Targets {
		t := &c.Targets[i]
		names[i] = t.Name
		if !targetName.MatchString(t.Name) {
			d.rulef("targets."+t.Name, "%q is no name for a target: want a letter, then up to 63 letters, digits, _ and -", t.Name)
		}
		d.checkTarget(c, t)
	}
	if err := checkpoint.Check(names); err != nil {
		d.rulef("targets", "%v", err)
	}
	if c.DrainTimeout >= kafka.RebalanceTimeout {
		d.rulef("drain_timeout", "%v is not less than the rebalance timeout, %v: the group would go on without this member", c.DrainTimeout, kafka.RebalanceTimeout)
	}
	if problem := c.drainsTooLong(c.Kafka.SessionTimeout); problem != "" && classic {
		d.rulef("drain_timeout", "%s", problem)
	}
	d.checkTopics(c)
	if text := c.Telemetry.TraceURL; text != "" {
		u, err := url.Parse(strings.ReplaceAll(text, "{trace}", "0"))
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || !strings.Contains(text, "{trace}") {
			d.rulef("telemetry.trace_url", "%q: want a URL with {trace} in it, such as https://jaeger.example/trace/{trace}", text)
		}
	}
	for i, path := range c.Redact {
		if !redactPath.MatchString(string(path)) {
			d.rulef(fmt.Sprintf("redact[%d]", i), "%q is no path to a field: want event.FIELD, with .FIELD for what is below", path)
		}
	}
}

// checkTopics finds a topic with two uses, and settings for topics that nobody
// reads.
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
			d.rulef(own.path, "topic %q is in %s too", own.topic, other)
		}
		use[own.topic] = own.path
	}
	for _, t := range c.Event.Topics {
		at := "event.topics." + t.Name
		if !slices.Contains(c.Kafka.Topics, t.Name) {
			d.rulef(at, "%q is not one of kafka.topics%s", t.Name, suggest(t.Name, c.Kafka.Topics))
		}
		if t.Value.Topics != nil {
			d.rulef(at+".topics", "a topic has no topics of its own")
		}
	}
	for topic := range c.Schemas.Reader {
		if !slices.Contains(c.Kafka.Topics, topic) {
			d.rulef("schemas.reader."+topic, "%q is not one of kafka.topics%s", topic, suggest(topic, c.Kafka.Topics))
		}
	}
}

func (d *decoder) checkTarget(c *Config, t *Target) {
	at := "targets." + t.Name
	if d.faulty(at) || d.faulty("kafka") || d.faulty("drain_timeout") {
		return
	}
	if t.Window.Deliveries < t.Batch.Size {
		d.rulef(at+".window.deliveries", "%d is less than batch.size, %d: no batch would ever be full", t.Window.Deliveries, t.Batch.Size)
	}
	if t.Timeout > c.DrainTimeout {
		d.rulef(at+".timeout", "%v is more than drain_timeout, %v: an attempt in flight could not end before its partition is given up", t.Timeout, c.DrainTimeout)
	}
	own := kafka.Timing{Session: c.Kafka.SessionTimeout, Heartbeat: c.Kafka.HeartbeatInterval()}
	if problem := t.outlasts(own); problem != "" && c.Kafka.GroupProtocol == "classic" {
		d.rulef(at+".timeout", "%s", problem)
	}
	if t.Retry.Initial > t.Retry.Max {
		d.rulef(at+".retry.initial", "%v is more than retry.max, %v", t.Retry.Initial, t.Retry.Max)
	}
	if t.Breaker.OpenFor > t.Breaker.OpenMax {
		d.rulef(at+".breaker.open_for", "%v is more than breaker.open_max, %v", t.Breaker.OpenFor, t.Breaker.OpenMax)
	}
	for _, topic := range t.Topics {
		if !slices.Contains(c.Kafka.Topics, topic) {
			d.rulef(at+".topic", "%q is not one of kafka.topics%s", topic, suggest(topic, c.Kafka.Topics))
		}
	}
}

// CheckTiming finds attempts and drains that the group's timing leaves no room for. With the
// classic protocol [Load] has done so; with KIP-848 Kafka has to be asked first. The
// error is an [*Error].
func (c *Config) CheckTiming(timing kafka.Timing) error {
	var mistakes []Mistake
	for i := range c.Targets {
		if problem := c.Targets[i].outlasts(timing); problem != "" {
			mistakes = append(mistakes, Mistake{Place: c.placeOf("targets." + c.Targets[i].Name + ".timeout"), Message: problem})
		}
	}
	c.fitDrain(timing.Session, c.places)
	if problem := c.drainsTooLong(timing.Session); problem != "" {
		mistakes = append(mistakes, Mistake{Place: c.placeOf("drain_timeout"), Message: problem})
	}
	return c.source.asError(mistakes)
}

// fitDrain has a drain_timeout that the file does not give fit into a short session.
func (c *Config) fitDrain(session time.Duration, given map[string]connector.Place) {
	if _, ok := given["drain_timeout"]; !ok {
		c.DrainTimeout = min(c.DrainTimeout, session*3/4)
	}
}

// drainsTooLong says why a drain is too long, "" if it is not. A member that drains does not
// hear whether the group has given it up, which takes a session at least.
func (c *Config) drainsTooLong(session time.Duration) string {
	if c.DrainTimeout < session {
		return ""
	}
	return fmt.Sprintf("%v is not less than the group's session timeout, %v: what still drains could be pushed beside its next owner",
		c.DrainTimeout, session)
}

// outlasts says why no attempt at the target could start, "" if it could: one that
// starts must end before the session that the last confirmed heartbeat has begun,
// and a heartbeat is confirmed by the next.
func (t *Target) outlasts(g kafka.Timing) string {
	least := t.Timeout + 2*g.Heartbeat
	if least < g.Session {
		return ""
	}
	return fmt.Sprintf("%v and two heartbeat intervals of the group, %v each, are %v, which is not less than its session timeout, %v: no attempt could start",
		t.Timeout, g.Heartbeat, least, g.Session)
}

// rulef reports a mistake at the key of path, unless there is one already.
func (d *decoder) rulef(path, format string, args ...any) {
	if !d.faulty(path) {
		d.rejectKeyf(path, format, args...)
	}
}
