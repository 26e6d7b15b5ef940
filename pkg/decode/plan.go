package decode

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/hms-sme/policysync/pkg/event"
)

// errDuplicate reports a map that has a key twice.
var errDuplicate = errors.New("a map has a duplicate key")

// input is what a plan reads: bytes that have passed the guard, which has counted
// every length, index and nesting. Strings of the value are parts of text, which is
// the record's own bytes, so that they take no allocation.
type input struct {
	b    []byte
	text string
	at   int
}

// read makes the value of the reader's type straight from the bytes.
type read func(*input) (any, error)

// planner compiles reads. It follows the resolver, which has said before whether the
// schemas fit, and has the reader's names and defaults; what the resolver makes of
// goavro's values is what tests hold the reads against.
type planner struct {
	resolver *resolver
	records  map[pair]*recordRead // also those under way, since records may be recursive
}

func (p *planner) plan(writer, reader *event.Type) (read, error) {
	if writer.Kind == event.Union {
		return p.union(writer, reader), nil
	}
	if reader.Kind == event.Union {
		b := match(writer, reader.Branches)
		if b == nil {
			return nil, fmt.Errorf("%s is no branch of the reader's union", describe(writer))
		}
		return p.plan(writer, b)
	}
	if rank(writer, reader) == noMatch {
		return nil, fmt.Errorf("%s cannot be read as %s", describe(writer), describe(reader))
	}
	switch reader.Kind {
	case event.Rec:
		return p.record(writer, reader)
	case event.Enum:
		return symbols(writer, enum(writer, reader)), nil
	case event.Array, event.Map:
		item, err := p.plan(writer.Items, reader.Items)
		if err != nil {
			return nil, err
		}
		if reader.Kind == event.Array {
			return list(item), nil
		}
		return dict(item), nil
	default:
		return single(writer, reader)
	}
}

func (p *planner) union(writer, reader *event.Type) read {
	branches := make([]read, len(writer.Branches))
	for i, b := range writer.Branches {
		var err error
		if branches[i], err = p.plan(b, reader); err != nil {
			branches[i] = func(*input) (any, error) { return nil, err }
		}
	}
	return func(in *input) (any, error) { return branches[in.long()](in) }
}

// recordRead reads the fields in the writer's order.
type recordRead struct {
	plan  *recordPlan
	steps []step
}

// step reads a field of the writer into each of the slots that take it, and passes
// over one that none does.
type step struct {
	written *event.Type
	slots   []int
	reads   []read
}

func (p *planner) record(writer, reader *event.Type) (read, error) {
	key := pair{writer, reader}
	if r := p.records[key]; r != nil {
		return r.read, nil
	}
	r := &recordRead{plan: p.resolver.records[key], steps: make([]step, len(writer.Fields))}
	p.records[key] = r
	for i, w := range writer.Fields {
		s := step{written: w.Type}
		for slot := range r.plan.fields {
			if r.plan.fields[slot].source != w.Name {
				continue
			}
			one, err := p.plan(w.Type, reader.Fields[slot].Type)
			if err != nil {
				return nil, below(w.Name, err)
			}
			s.slots, s.reads = append(s.slots, slot), append(s.reads, one)
		}
		r.steps[i] = s
	}
	return r.read, nil
}

func (r *recordRead) read(in *input) (any, error) {
	values := slices.Clone(r.plan.values)
	for i := range r.steps {
		s, from := &r.steps[i], in.at
		for j, one := range s.reads {
			in.at = from
			v, err := one(in)
			if err != nil {
				return nil, below(r.plan.names[s.slots[j]], err)
			}
			values[s.slots[j]] = v
		}
		if len(s.reads) == 0 {
			if err := in.pass(s.written); err != nil {
				return nil, err
			}
		}
	}
	return &event.Object{Names: r.plan.names, Values: values}, nil
}

// symbols reads an enum, whose values are made once.
func symbols(writer *event.Type, c convert) read {
	values, errs := make([]any, len(writer.Symbols)), make([]error, len(writer.Symbols))
	for i, symbol := range writer.Symbols {
		values[i], errs[i] = c(symbol)
	}
	return func(in *input) (any, error) {
		i := in.long()
		return values[i], errs[i]
	}
}

func list(item read) read {
	return func(in *input) (any, error) {
		items := []any{}
		for n := in.block(); n > 0; n = in.block() {
			if len(items) == 0 {
				items = make([]any, 0, n)
			}
			for range n {
				v, err := item(in)
				if err != nil {
					return nil, below(fmt.Sprintf("[%d]", len(items)), err)
				}
				items = append(items, v)
			}
		}
		return items, nil
	}
}

func dict(item read) read {
	return func(in *input) (any, error) {
		m := map[string]any{}
		for n := in.block(); n > 0; n = in.block() {
			for range n {
				key := in.string()
				if _, twice := m[key]; twice {
					return nil, below(fmt.Sprintf("[%q]", key), errDuplicate)
				}
				v, err := item(in)
				if err != nil {
					return nil, below(fmt.Sprintf("[%q]", key), err)
				}
				m[key] = v
			}
		}
		return m, nil
	}
}

// single reads a value without parts. Numbers and bytes it makes into what they mean at
// once; the rest it reads as the writer has it, and converts.
func single(writer, reader *event.Type) (read, error) {
	c, err := leaf(writer, reader)
	if err != nil {
		return nil, err
	}
	switch reader.Kind {
	case event.Int, event.Long:
		if mean := logicalInt(reader); mean != nil {
			return func(in *input) (any, error) { return mean(in.long()) }, nil
		}
		return func(in *input) (any, error) { return in.long(), nil }, nil
	case event.Float:
		return func(in *input) (any, error) { return float64(float32(in.number(writer.Kind))), nil }, nil
	case event.Double:
		return func(in *input) (any, error) { return in.number(writer.Kind), nil }, nil
	default:
	}
	var one func(*input) any
	switch writer.Kind {
	case event.Null:
		one = func(*input) any { return nil }
	case event.Boolean:
		one = func(in *input) any { return in.take(1)[0] == 1 }
	case event.String:
		one = func(in *input) any { return in.string() }
	case event.Bytes, event.Fixed:
		if mean := logicalBytes(reader); mean != nil {
			return func(in *input) (any, error) { return mean(in.bytes(writer)) }, nil
		}
		one = func(in *input) any { return in.bytes(writer) }
	default:
		return nil, fmt.Errorf("%s has parts", describe(writer))
	}
	if c == nil {
		return func(in *input) (any, error) { return one(in), nil }, nil
	}
	return func(in *input) (any, error) { return c(one(in)) }, nil
}

// number reads one of any kind.
func (in *input) number(written event.Kind) float64 {
	switch written {
	case event.Float:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(in.take(4))))
	case event.Double:
		return math.Float64frombits(binary.LittleEndian.Uint64(in.take(8)))
	default:
		return float64(in.long())
	}
}

// bytes reads bytes that are a part of the record's.
func (in *input) bytes(written *event.Type) []byte {
	if written.Kind == event.Fixed {
		return in.take(written.Size)
	}
	return in.take(int(in.long()))
}

func (in *input) long() int64 {
	v, n := binary.Varint(in.b[in.at:])
	in.at += n
	return v
}

func (in *input) take(n int) []byte {
	in.at += n
	return in.b[in.at-n : in.at]
}

func (in *input) string() string {
	n := int(in.long())
	in.at += n
	return in.text[in.at-n : in.at]
}

// block returns how many items the next block of an array or a map has, 0 after the
// last.
func (in *input) block() int64 {
	n := in.long()
	if n < 0 {
		n = -n
		in.long() // the size of the block in bytes
	}
	return n
}

// pass goes over a value.
func (in *input) pass(t *event.Type) error {
	g := guardWalk{b: in.b[in.at:], values: math.MaxInt}
	err := g.walk(t)
	in.at = len(in.b) - len(g.b)
	return err
}
