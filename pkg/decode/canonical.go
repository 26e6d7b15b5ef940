package decode

import (
	"strconv"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// canonical writes a schema in its parsing canonical form (Avro 1.12
// specification, "Parsing Canonical Form"), with named types called as name says.
func canonical(root *event.Type, name func(*event.Type) string) string {
	c := canonicalWriter{name: name, written: map[*event.Type]bool{}}
	c.write(root)
	return c.b.String()
}

func fullName(t *event.Type) string { return t.Name }

type canonicalWriter struct {
	b       strings.Builder
	name    func(*event.Type) string
	written map[*event.Type]bool
}

func (c *canonicalWriter) write(t *event.Type) {
	switch t.Kind {
	case event.Union:
		c.list(len(t.Branches), func(i int) { c.write(t.Branches[i]) })
	case event.Array:
		c.b.WriteString(`{"type":"array","items":`)
		c.write(t.Items)
		c.b.WriteByte('}')
	case event.Map:
		c.b.WriteString(`{"type":"map","values":`)
		c.write(t.Items)
		c.b.WriteByte('}')
	case event.Rec, event.Enum, event.Fixed:
		c.named(t)
	default:
		c.quote(string(t.Kind))
	}
}

func (c *canonicalWriter) named(t *event.Type) {
	if c.written[t] {
		c.quote(c.name(t))
		return
	}
	c.written[t] = true
	c.b.WriteString(`{"name":`)
	c.quote(c.name(t))
	c.b.WriteString(`,"type":`)
	c.quote(string(t.Kind))
	switch t.Kind {
	case event.Rec:
		c.b.WriteString(`,"fields":`)
		c.list(len(t.Fields), func(i int) {
			c.b.WriteString(`{"name":`)
			c.quote(t.Fields[i].Name)
			c.b.WriteString(`,"type":`)
			c.write(t.Fields[i].Type)
			c.b.WriteByte('}')
		})
	case event.Enum:
		c.b.WriteString(`,"symbols":`)
		c.list(len(t.Symbols), func(i int) { c.quote(t.Symbols[i]) })
	default:
		c.b.WriteString(`,"size":` + strconv.Itoa(t.Size))
	}
	c.b.WriteByte('}')
}

func (c *canonicalWriter) list(n int, write func(i int)) {
	c.b.WriteByte('[')
	for i := range n {
		if i > 0 {
			c.b.WriteByte(',')
		}
		write(i)
	}
	c.b.WriteByte(']')
}

// quote needs no escapes: Avro's names have only letters, digits, _ and dots.
func (c *canonicalWriter) quote(s string) { c.b.WriteString(`"` + s + `"`) }

// fingerprint is a schema's CRC-64-AVRO (Avro 1.12 specification, "Schema
// Fingerprints").
func fingerprint(root *event.Type) uint64 {
	const empty = 0xc15d213aa4d7a795
	fp := uint64(empty)
	for _, b := range []byte(canonical(root, fullName)) {
		x := (fp ^ uint64(b)) & 0xff
		for range 8 {
			x = x>>1 ^ empty&-(x&1)
		}
		fp = fp>>8 ^ x
	}
	return fp
}
