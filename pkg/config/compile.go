package config

import (
	"fmt"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/mapping"
)

// Compile compiles all expressions and checks them against the schemas of the
// topics whose events they meet. Of a topic without schemas only the syntax is
// checked; the rest is when its first schema comes. The error is an [*Error] and
// also holds the mistakes of [Load].
func (c *Config) Compile(byTopic map[string][]*event.Schema) error {
	mistakes := slices.Clone(c.mistakes)
	for _, e := range c.expressions {
		topics := e.topics
		if topics == nil {
			topics = c.Kafka.Topics
		}
		for _, p := range e.compile(topics, byTopic) {
			if p.Place.Line > e.expr.Place.Line {
				p.Place.Column += e.expr.Place.Column - 1 // the indent of a block text
			}
			mistakes = append(mistakes, Mistake{Place: p.Place, Message: p.Message})
		}
	}
	return c.source.asError(append(mistakes, c.missingRedacted(byTopic)...))
}

// missingRedacted finds the paths of `redact` that no schema has, once each topic has
// one.
func (c *Config) missingRedacted(byTopic map[string][]*event.Schema) (mistakes []Mistake) {
	var schemas []*event.Schema
	for _, topic := range c.Kafka.Topics {
		if len(byTopic[topic]) == 0 {
			return nil
		}
		schemas = append(schemas, byTopic[topic]...)
	}
	for i, path := range c.Redact {
		if name, instead := path.Missing(schemas); name != "" {
			mistakes = append(mistakes, Mistake{
				Place:   c.placeOf(fmt.Sprintf("redact[%d]", i)),
				Message: fmt.Sprintf("no schema has the field %q of %s%s", name, path, didYouMean(name, instead)),
			})
		}
	}
	return mistakes
}

// compile compiles one expression. Where the schemas of several topics are held
// against it, its problems name the topic.
func (e expression) compile(topics []string, byTopic map[string][]*event.Schema) []mapping.Problem {
	var schemas []*event.Schema
	for _, topic := range topics {
		schemas = append(schemas, byTopic[topic]...)
	}
	problems := mapping.Compile(e.expr, e.decl, schemas)
	if len(problems) == 0 || len(topics) < 2 {
		return problems
	}
	trial := *e.expr
	if syntax := mapping.Compile(&trial, e.decl, nil); len(syntax) > 0 {
		return syntax
	}
	problems = nil
	for _, topic := range topics {
		for _, p := range mapping.Compile(&trial, e.decl, byTopic[topic]) {
			p.Message += " (topic " + topic + ")"
			problems = append(problems, p)
		}
	}
	return problems
}
