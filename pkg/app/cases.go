package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/goccy/go-yaml"
)

// Case is an event and what targets must make of it: a test of a config's own
// expressions.
type Case struct {
	Name string `yaml:"name"`
	// Topic is where the event comes from, the config's first topic if empty.
	Topic string `yaml:"topic"`
	// Event is what a line of Produce holds: {key: P-1, value: {…}}.
	Event any `yaml:"event"`
	// Want says by target what becomes of the event.
	Want map[string]Want `yaml:"want"`
}

// Want is what must become of an event at one target. One of its fields is set.
type Want struct {
	// Document is exactly what would be sent; the order of keys does not count.
	Document any `yaml:"document"`
	// Filtered: the target does not get the event.
	Filtered bool `yaml:"filtered"`
	// Error is a part of the error that would make a dead letter of the event.
	Error string `yaml:"error"`
}

// CaseResult tells how one case ended for one target.
type CaseResult struct {
	Case   string `json:"case"`
	Target string `json:"target"`
	OK     bool   `json:"ok"`
	// Why the case failed, as a difference of documents where there are two.
	Why string `json:"why,omitempty"`
}

// ReadCases reads a YAML list of cases. The error names line and column.
func ReadCases(text []byte) ([]Case, error) {
	var cases []Case
	if err := yaml.UnmarshalWithOptions(text, &cases, yaml.Strict()); err != nil {
		return nil, fmt.Errorf("want a list of cases: %s", strings.TrimSpace(err.Error()))
	}
	for i, c := range cases {
		at := fmt.Sprintf("case %d (%s)", i+1, c.Name)
		switch {
		case c.Event == nil:
			return nil, fmt.Errorf("%s: it has no event", at)
		case len(c.Want) == 0:
			return nil, fmt.Errorf("%s: it wants nothing of any target", at)
		}
		for target, w := range c.Want {
			given := 0
			for _, is := range []bool{w.Document != nil, w.Filtered, w.Error != ""} {
				if is {
					given++
				}
			}
			if given != 1 {
				return nil, fmt.Errorf("%s: target %s: want one of document, filtered: true and error", at, target)
			}
		}
	}
	return cases, nil
}

// RunCase maps the event of a case for each target that the case speaks of. Its
// error means that the case could not be run.
func (p *Previewer) RunCase(ctx context.Context, c *Case) ([]CaseResult, error) {
	line, err := json.Marshal(c.Event)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	record, err := p.Line(ctx, c.Topic, line)
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	var results []CaseResult
	for _, target := range slices.Sorted(maps.Keys(c.Want)) {
		preview, err := p.Preview(ctx, target, record)
		if errors.Is(err, ErrNoTarget) {
			return nil, err
		}
		want := c.Want[target]
		why := want.differs(preview, err)
		results = append(results, CaseResult{Case: c.Name, Target: target, OK: why == "", Why: why})
	}
	return results, nil
}

// differs says how what came differs from what is wanted; empty if it does not.
func (w *Want) differs(got *Preview, err error) string {
	switch {
	case err != nil && w.Error == "":
		return "want no error, have: " + err.Error()
	case err != nil && !strings.Contains(err.Error(), w.Error):
		return fmt.Sprintf("want an error with %q, have: %v", w.Error, err)
	case err != nil:
		return ""
	case w.Error != "":
		return fmt.Sprintf("want an error with %q, have none", w.Error)
	case w.Filtered && got.Delivered:
		return "want the event filtered out, but it would be sent"
	case !w.Filtered && !got.Delivered:
		return "want a document, but the event is filtered out"
	case w.Filtered:
		return ""
	}
	wanted, err := json.Marshal(w.Document)
	if err != nil {
		return "the wanted document is no JSON: " + err.Error()
	}
	return udiff.Unified("want", "have", canonical(wanted), canonical(got.Document))
}

// canonical prints a JSON document with sorted keys, and each number in one form.
func canonical(text []byte) string {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(text)
	}
	out, err := json.MarshalIndent(plainNumbers(v), "", "  ")
	if err != nil {
		return string(text)
	}
	return string(out) + "\n"
}

func plainNumbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok {
			if r.IsInt() {
				return json.Number(r.Num().String())
			}
			f, _ := r.Float64()
			return f
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = plainNumbers(v[key])
		}
	}
	return v
}
