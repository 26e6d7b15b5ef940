package config

import (
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// entry is a key of a mapping with its value.
type entry struct {
	name       string
	key, value ast.Node
}

// resolve follows anchors, aliases and the standard tags to the value itself.
func (d *decoder) resolve(n ast.Node, path string) (ast.Node, bool) {
	for {
		d.values++
		if d.exhausted {
			return nil, false
		}
		if d.values > maxValues || d.depth > maxDepth {
			d.rejectf(d.src.place(n, path), "too much: want at most %d values, %d levels deep", maxValues, maxDepth)
			d.exhausted = true
			return nil, false
		}
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.AliasNode:
			target, ok := d.src.aliases[v]
			if !ok {
				d.rejectf(d.src.place(n, path), "alias %q has no anchor above it", v.Value.GetToken().Value)
				return nil, false
			}
			n = target
		case *ast.TagNode:
			if !strings.HasPrefix(v.Start.Value, "!!") {
				d.rejectf(d.src.place(n, path), "a value that begins with ! needs quotes")
				return nil, false
			}
			n = v.Value
		default:
			return n, true
		}
	}
}

// entries lists the entries of a mapping in their order, then those that merge
// keys bring in and that the mapping does not have itself.
func (d *decoder) entries(n ast.Node, path string) ([]entry, bool) {
	mapping, ok := n.(*ast.MappingNode)
	if !ok {
		d.wrongKind(n, "a mapping", path)
		return nil, false
	}
	d.depth++
	defer func() { d.depth-- }()
	var own, merged []entry
	lines := map[string]int{}
	for _, kv := range mapping.Values {
		if _, ok := kv.Key.(*ast.MergeKeyNode); ok {
			merged = append(merged, d.merge(kv.Value, path)...)
			continue
		}
		at := d.src.place(kv.Key, path)
		name, ok := keyName(kv.Key)
		if !ok {
			d.rejectf(at, "want a plain text as key")
			continue
		}
		at.Path = join(path, name)
		if line, ok := lines[name]; ok {
			d.src.hide(kv.Value)
			d.rejectf(at, "given twice: the first is in line %d", line)
			continue
		}
		lines[name] = at.Line
		own = append(own, entry{name: name, key: kv.Key, value: kv.Value})
	}
	for _, e := range merged {
		if _, ok := lines[e.name]; !ok {
			lines[e.name] = 0
			own = append(own, e)
		}
	}
	return own, true
}

// merge lists the entries of a merge key: a mapping, or several of which the first wins.
func (d *decoder) merge(n ast.Node, path string) []entry {
	n, ok := d.resolve(n, path)
	if !ok {
		return nil
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		entries, _ := d.entries(n, path)
		return entries
	}
	var all []entry
	for _, item := range seq.Values {
		all = append(all, d.merge(item, path)...)
	}
	return all
}

func keyName(key ast.MapKeyNode) (string, bool) {
	switch key := key.(type) {
	case *ast.StringNode:
		return key.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return key.GetToken().Value, true
	}
	return "", false
}

// text is a scalar as the file writes it, with the environment filled in.
func (d *decoder) text(n ast.Node, want, path string) (string, bool) {
	raw, ok := rawText(n)
	if !ok {
		d.wrongKind(n, want, path)
		return "", false
	}
	text, err := expand(raw, d.env)
	if err != nil {
		d.rejectf(d.src.place(n, path), "%v", err)
		return "", false
	}
	return text, true
}

func rawText(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func (d *decoder) wrongKind(n ast.Node, want, path string) {
	have := "a value"
	switch n := n.(type) {
	case *ast.MappingNode:
		if have = "a mapping"; glued(n) {
			have += ": inside { } a text with a colon needs quotes"
		}
	case *ast.SequenceNode:
		have = "a list"
	case *ast.NullNode:
		have = "nothing"
	}
	d.rejectf(d.src.place(n, path), "want %s, have %s", want, have)
}

// glued reports whether a mapping is rather a text such as host:9092, which the parser
// takes for one inside braces.
func glued(m *ast.MappingNode) bool {
	if len(m.Values) != 1 || isNull(m.Values[0].Value) {
		return false
	}
	colon, value := m.Values[0].Start.Position, m.Values[0].Value.GetToken().Position
	return colon.Line == value.Line && colon.Column+1 == value.Column
}

func isNull(n ast.Node) bool {
	_, ok := n.(*ast.NullNode)
	return ok
}

// join makes the path of a key below path.
func join(path, key string) string {
	switch {
	case path == "":
		return key
	case key == "" || strings.HasPrefix(key, "["):
		return path + key
	}
	return path + "." + key
}

// parent is the path above, empty at the top.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }

// within reports whether path is at or below root.
func within(path, root string) bool {
	rest, ok := strings.CutPrefix(path, root)
	return ok && (rest == "" || root == "" || rest[0] == '.' || rest[0] == '[')
}
