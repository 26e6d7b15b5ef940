package config

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Load reads the file at path. Mistakes come as an [*Error] with all of them.
//
// If the syntax is sound, the config is returned beside the mistakes, so that
// [Config.Compile] can add those of its expressions; it must not be run.
func Load(path string, registry connector.Registry) (*Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return LoadBytes(path, text, registry)
}

// LoadBytes is [Load] for a text in memory; file is its name in messages.
func LoadBytes(file string, text []byte, registry connector.Registry) (*Config, error) {
	return load(file, text, registry, os.LookupEnv)
}

func load(file string, text []byte, registry connector.Registry, env func(string) (string, bool)) (*Config, error) {
	src, mistake := parse(file, text)
	if mistake != nil {
		return nil, src.asError([]Mistake{*mistake})
	}
	d := &decoder{src: src, registry: registry, env: env, places: map[string]connector.Place{}}
	c := &Config{source: src, placeOf: d.placeOf, places: d.places}
	var entries []entry
	if src.root != nil && !isNull(src.root) {
		root, ok := d.resolve(src.root, "")
		if ok {
			entries, ok = d.entries(root, "")
		}
		if !ok {
			return nil, src.asError(d.mistakes)
		}
	}
	d.structs(entries, "", reflect.ValueOf(c).Elem())
	c.DeadLetters.Topic = cmp.Or(c.DeadLetters.Topic, c.Kafka.Group+".dead-letters")
	c.Receipts.Topic = cmp.Or(c.Receipts.Topic, c.Kafka.Group+".receipts")
	c.Control.Topic = cmp.Or(c.Control.Topic, c.Kafka.Group+".control")
	d.checkRules(c)
	c.expressions = d.collect(c)
	c.mistakes = d.mistakes
	return c, c.Compile(nil)
}

// kind looks up the connector that a target names.
func (d *decoder) kind(n ast.Node, path string) (connector.Kind, bool) {
	n, ok := d.resolve(n, path)
	if !ok || isNull(n) {
		return connector.Kind{}, false
	}
	raw, ok := rawText(n)
	if !ok {
		return connector.Kind{}, false
	}
	name, err := expand(raw, d.env)
	if err != nil {
		return connector.Kind{}, false
	}
	kind, ok := d.registry[name]
	if !ok {
		d.rejectf(d.src.place(n, path), "unknown connector %q%s", name, suggest(name, slices.Collect(maps.Keys(d.registry))))
	}
	return kind, ok
}

// suggest names the nearest of the words, or all of them if none is near.
func suggest(word string, words []string) string {
	if near := didYouMean(word, words); near != "" {
		return near
	}
	if len(words) == 0 {
		return ""
	}
	return ": want one of " + strings.Join(slices.Sorted(slices.Values(words)), ", ")
}
