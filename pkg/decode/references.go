package decode

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/sr"
)

// inline returns a schema's text with the types that it refers to in place.
func (r *Registry) inline(ctx context.Context, s sr.Schema) (string, error) {
	if len(s.References) == 0 {
		return s.Schema, nil
	}
	in := inliner{declared: map[string]map[string]any{}, written: map[string]bool{}}
	if err := r.collect(ctx, s.References, map[sr.SchemaReference]bool{}, &in); err != nil {
		return "", err
	}
	root, err := parseJSON([]byte(s.Schema))
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(in.expand(root, ""))
	return string(text), err
}

// collect gathers the types that the referenced schemas declare, and those that
// these refer to in turn.
func (r *Registry) collect(ctx context.Context, refs []sr.SchemaReference, seen map[sr.SchemaReference]bool, in *inliner) error {
	for _, ref := range refs {
		if seen[ref] {
			continue
		}
		if seen[ref] = true; len(seen) > maxReferences {
			return fmt.Errorf("more than %d references", maxReferences)
		}
		var answer sr.SubjectSchema
		err := r.ask(ctx, func(ctx context.Context) (err error) {
			answer, err = r.client.SchemaByVersion(ctx, ref.Subject, ref.Version)
			return err
		})
		if err != nil {
			return fmt.Errorf("reference %q (subject %q, version %d): %w", ref.Name, ref.Subject, ref.Version, err)
		}
		root, err := parseJSON([]byte(answer.Schema.Schema))
		if err != nil {
			return fmt.Errorf("reference %q: %w", ref.Name, err)
		}
		in.declare(root, "")
		if err := r.collect(ctx, answer.References, seen, in); err != nil {
			return err
		}
	}
	return nil
}

// inliner puts declarations where a name first stands for them. It works on JSON
// and not on parsed types, because the text of the whole is wanted.
type inliner struct {
	declared map[string]map[string]any // by full name, which each now bears
	written  map[string]bool
}

// declare notes the named types in v and gives them their full names.
func (in *inliner) declare(v any, namespace string) {
	switch v := v.(type) {
	case []any:
		for _, b := range v {
			in.declare(b, namespace)
		}
	case map[string]any:
		if name := setFullName(v, namespace); name != "" {
			namespace = namespaceOf(name)
			if in.declared[name] == nil {
				in.declared[name] = v
			}
		}
		for part := range parts(v) {
			in.declare(part, namespace)
		}
	}
}

func (in *inliner) expand(v any, namespace string) any {
	switch v := v.(type) {
	case string:
		d := in.declared[v]
		if inner := in.declared[namespace+"."+v]; inner != nil && !strings.Contains(v, ".") {
			d = inner
		}
		if d != nil {
			return in.expand(d, "")
		}
	case []any:
		for i, b := range v {
			v[i] = in.expand(b, namespace)
		}
	case map[string]any:
		if name := setFullName(v, namespace); name != "" {
			if in.written[name] {
				return name
			}
			in.written[name] = true
			namespace = namespaceOf(name)
		}
		for part, set := range parts(v) {
			set(in.expand(part, namespace))
		}
	}
	return v
}

// setFullName gives a declaration of a named type its full name and returns it;
// it returns "" for everything else.
func setFullName(m map[string]any, namespace string) string {
	kind, _ := m["type"].(string)
	name, _ := m["name"].(string)
	if name == "" || !slices.Contains([]string{"record", "enum", "fixed"}, kind) {
		return ""
	}
	if own, ok := m["namespace"].(string); ok {
		namespace = own
	}
	if namespace != "" && !strings.Contains(name, ".") {
		name = namespace + "." + name
	}
	m["name"], m["namespace"] = name, namespaceOf(name)
	return name
}

func namespaceOf(name string) string {
	return name[:max(strings.LastIndexByte(name, '.'), 0)]
}

// parts yields the schemas inside a declaration, each with how to replace it.
func parts(m map[string]any) func(yield func(any, func(any)) bool) {
	return func(yield func(any, func(any)) bool) {
		for _, key := range []string{"type", "items", "values"} {
			if v := m[key]; v != nil && !yield(v, func(x any) { m[key] = x }) {
				return
			}
		}
		fields, _ := m["fields"].([]any)
		for _, f := range fields {
			if f, ok := f.(map[string]any); ok && f["type"] != nil {
				if !yield(f["type"], func(x any) { f["type"] = x }) {
					return
				}
			}
		}
	}
}
