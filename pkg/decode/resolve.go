package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// convert makes a value of the reader's type from what goavro decoded with the
// writer's. It may change its argument in place. A nil convert returns it as it is.
type convert func(any) (any, error)

func (c convert) apply(v any) (any, error) {
	if c == nil {
		return v, nil
	}
	return c(v)
}

// as returns what goavro made of bytes that have passed the guard. Its type follows
// from the schema; if it does not, run turns the panic into an error.
func as[T any](v any) T {
	t, ok := v.(T)
	if !ok {
		panic(fmt.Sprintf("decoded %T, want %T", v, t))
	}
	return t
}

func refuse(err error) convert {
	return func(any) (any, error) { return nil, err }
}

type pair struct{ writer, reader *event.Type }

// resolver compiles conversions by the rules of schema resolution (Avro 1.12
// specification, "Schema Resolution"). Where a rule depends on the value, such as
// the branch of a union that was written, its breach is an error of that value
// and not of the schemas.
type resolver struct {
	branch  func(*event.Type) string
	records map[pair]*recordPlan // also those under way, since records may be recursive
	// defaults are computed last: one may be a record whose plan is still under way.
	defaults []func() error
	// all asks for the defaults of all fields, also of those that the writer has.
	all bool
}

func (r *resolver) root(writer, reader *event.Type) (convert, error) {
	c, err := r.resolve(writer, reader)
	if err != nil {
		return nil, err
	}
	for len(r.defaults) > 0 { // each may bring more
		next := r.defaults[0]
		r.defaults = r.defaults[1:]
		if err := next(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (r *resolver) resolve(writer, reader *event.Type) (convert, error) {
	if writer.Kind == event.Union {
		return r.writtenUnion(writer, reader)
	}
	if reader.Kind == event.Union {
		b := match(writer, reader.Branches)
		if b == nil {
			return nil, fmt.Errorf("%s is no branch of the reader's union", describe(writer))
		}
		return r.resolve(writer, b)
	}
	if rank(writer, reader) == noMatch {
		return nil, fmt.Errorf("%s cannot be read as %s", describe(writer), describe(reader))
	}
	switch reader.Kind {
	case event.Rec:
		return r.record(writer, reader)
	case event.Enum:
		return enum(writer, reader), nil
	case event.Array:
		return r.array(writer, reader)
	case event.Map:
		return r.mapping(writer, reader)
	default:
		return leaf(writer, reader)
	}
}

// writtenUnion unwraps what goavro returns for a union: nil, or a map of one entry
// from the branch's name to its value.
func (r *resolver) writtenUnion(writer, reader *event.Type) (convert, error) {
	null := refuse(fmt.Errorf("null has no place in %s", describe(reader)))
	branches := map[string]convert{}
	usable := false
	var first error
	for _, b := range writer.Branches {
		c, err := r.resolve(b, reader)
		if err != nil {
			if first == nil {
				first = err
			}
			c = refuse(err)
		}
		if b.Kind == event.Null {
			null = c
			continue
		}
		usable = usable || err == nil
		branches[r.branch(b)] = c
	}
	if !usable && first != nil {
		return nil, first
	}
	return func(v any) (any, error) {
		if v == nil {
			return null.apply(nil)
		}
		for name, inner := range as[map[string]any](v) {
			return branches[name].apply(inner)
		}
		return nil, errors.New("a union without a branch")
	}, nil
}

type recordPlan struct {
	names  []string // shared by all objects
	fields []fieldPlan
	values []any // the defaults, of use where the writer lacks the field
}

type fieldPlan struct {
	// source is the writer's name of the field; empty if its default is used.
	source  string
	convert convert
}

func (p *recordPlan) convert(v any) (any, error) {
	m := as[map[string]any](v)
	values := slices.Clone(p.values)
	for i := range p.fields {
		f := &p.fields[i]
		if f.source == "" {
			continue
		}
		x, err := f.convert.apply(m[f.source])
		if err != nil {
			return nil, below(p.names[i], err)
		}
		values[i] = x
	}
	return &event.Object{Names: p.names, Values: values}, nil
}

func (r *resolver) record(writer, reader *event.Type) (convert, error) {
	key := pair{writer, reader}
	if p := r.records[key]; p != nil {
		return p.convert, nil
	}
	n := len(reader.Fields)
	p := &recordPlan{names: make([]string, n), fields: make([]fieldPlan, n), values: make([]any, n)}
	r.records[key] = p
	sources := sources(writer, reader)
	for i, f := range reader.Fields {
		p.names[i] = f.Name
		if source := sources[f]; source != nil {
			c, err := r.resolve(source.Type, f.Type)
			if err != nil {
				return nil, below(f.Name, err)
			}
			p.fields[i] = fieldPlan{source: source.Name, convert: c}
		} else if f.Default == nil {
			return nil, below(f.Name, errors.New("the writer lacks this field and it has no default"))
		}
		if f.Default == nil || p.fields[i].source != "" && !r.all {
			continue
		}
		r.defaults = append(r.defaults, func() error {
			var err error
			p.values[i], err = r.value(f)
			return err
		})
	}
	return p.convert, nil
}

// value is the value of a field's default.
func (r *resolver) value(f *event.Field) (any, error) {
	native, err := nativeDefault(f, r.branch)
	if err != nil {
		return nil, below(f.Name, err)
	}
	c, err := r.resolve(f.Type, f.Type)
	if err != nil {
		return nil, below(f.Name, err)
	}
	return c.apply(native)
}

// sources finds the writer's field for each of the reader's: by its name, else by
// an alias that no other field of the reader has as its name.
func sources(writer, reader *event.Type) map[*event.Field]*event.Field {
	found := map[*event.Field]*event.Field{}
	for _, f := range reader.Fields {
		if w := writer.Field(f.Name); w != nil {
			found[f] = w
			continue
		}
		for _, alias := range f.Aliases {
			if w := writer.Field(alias); w != nil && reader.Field(alias) == nil {
				found[f] = w
				break
			}
		}
	}
	return found
}

func enum(writer, reader *event.Type) convert {
	known := map[string]bool{}
	for _, symbol := range writer.Symbols {
		known[symbol] = slices.Contains(reader.Symbols, symbol)
	}
	return func(v any) (any, error) {
		if known[as[string](v)] {
			return v, nil
		}
		if reader.Default == "" {
			return nil, fmt.Errorf("%q is no symbol of %s", v, describe(reader))
		}
		return reader.Default, nil
	}
}

func (r *resolver) array(writer, reader *event.Type) (convert, error) {
	item, err := r.resolve(writer.Items, reader.Items)
	if item == nil || err != nil {
		return nil, err
	}
	return func(v any) (any, error) {
		items := as[[]any](v)
		for i, x := range items {
			y, err := item(x)
			if err != nil {
				return nil, below(fmt.Sprintf("[%d]", i), err)
			}
			items[i] = y
		}
		return items, nil
	}, nil
}

func (r *resolver) mapping(writer, reader *event.Type) (convert, error) {
	item, err := r.resolve(writer.Items, reader.Items)
	if item == nil || err != nil {
		return nil, err
	}
	return func(v any) (any, error) {
		m := as[map[string]any](v)
		for key, x := range m {
			y, err := item(x)
			if err != nil {
				return nil, below(fmt.Sprintf("[%q]", key), err)
			}
			m[key] = y
		}
		return m, nil
	}, nil
}

// How well a writer's type fits a reader's.
const (
	noMatch = iota
	byPromotion
	byShortName
	exactly
)

func match(writer *event.Type, branches []*event.Type) *event.Type {
	var best *event.Type
	highest := noMatch
	for _, b := range branches {
		if n := rank(writer, b); n > highest {
			best, highest = b, n
		}
	}
	return best
}

func rank(writer, reader *event.Type) int {
	if writer.Kind != reader.Kind {
		if slices.Contains(promotions[writer.Kind], reader.Kind) {
			return byPromotion
		}
		return noMatch
	}
	switch {
	case writer.Name == "":
		return exactly
	case writer.Kind == event.Fixed && writer.Size != reader.Size:
		return noMatch
	case writer.Name == reader.Name || slices.Contains(reader.Aliases, writer.Name):
		return exactly
	case short(writer.Name) == short(reader.Name):
		return byShortName
	}
	return noMatch
}

func short(name string) string { return name[strings.LastIndexByte(name, '.')+1:] }

func describe(t *event.Type) string {
	s := string(t.Kind)
	if t.Name != "" {
		s += fmt.Sprintf(" %q", t.Name)
	}
	if t.Logical != "" {
		s += " (" + t.Logical + ")"
	}
	return s
}
