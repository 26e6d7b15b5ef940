package mapping

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"cel.dev/cel-go/cel"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// program is an expression for every schema that it has met.
type program struct {
	source    string
	decl      Decl
	usesEvent bool

	// bySchema is read without a lock, at each evaluation; mu guards its replacement.
	bySchema atomic.Pointer[map[*event.Schema]*compiled]
	mu       sync.Mutex
}

// Eval implements [connector.Program].
func (p *program) Eval(s connector.Scope) (any, error) {
	c, err := p.forSchema(s.Event.Schema)
	if err != nil {
		return nil, err
	}
	if c.path != nil {
		return walk(c.path, s)
	}
	out, _, err := c.prg.Eval(activation{s, p.decl.Lookups})
	if err != nil {
		if p.usesEvent && s.Event.Value == nil {
			err = fmt.Errorf("event is null, for the record is a tombstone: %w", err)
		}
		return nil, err
	}
	v, err := fromCEL(out)
	if err != nil {
		return nil, err
	}
	return v, p.expect(v)
}

// expect checks the kind of a value where the types did not tell it before.
func (p *program) expect(v any) error {
	kind, ok := "", true
	switch p.decl.Want {
	case "bool":
		kind = "true or false"
		_, ok = v.(bool)
	case "int":
		kind = "a whole number"
		_, ok = v.(int64)
	case "string":
		kind = "text"
		_, ok = v.(string)
	}
	if !ok {
		return fmt.Errorf("the result is not %s", kind)
	}
	return nil
}

// forSchema returns the expression for a schema, and compiles it if it is new.
func (p *program) forSchema(s *event.Schema) (*compiled, error) {
	var c *compiled
	if known := p.bySchema.Load(); known != nil {
		c = (*known)[s]
	}
	if c == nil {
		c = p.compile(s)
		p.keep(s, c)
	}
	err := c.faults.err()
	if err != nil && s != nil {
		err = &SchemaError{ID: s.ID, Err: err}
	}
	return c, err
}

func (p *program) keep(s *event.Schema, c *compiled) {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := map[*event.Schema]*compiled{}
	if known := p.bySchema.Load(); known != nil {
		maps.Copy(next, *known)
	}
	next[s] = c
	p.bySchema.Store(&next)
}

// activation gives an expression its variables.
type activation struct {
	s       connector.Scope
	lookups Lookups
}

// Parent implements [cel.Activation].
func (activation) Parent() cel.Activation { return nil }

// ResolveName implements [cel.Activation].
func (a activation) ResolveName(name string) (any, bool) {
	ev := a.s.Event
	switch name {
	case "event":
		if ev.Value == nil {
			return nil, true
		}
		return ev.Value, true
	case "key":
		return ev.Key, true
	case "topic":
		return ev.Topic, true
	case "partition":
		return int64(ev.Partition), true
	case "offset":
		return ev.Offset, true
	case "timestamp":
		return ev.Timestamp, true
	case "headers":
		headers := make(map[string]string, len(ev.Headers))
		for _, h := range ev.Headers {
			headers[h.Key] = string(h.Value)
		}
		return headers, true
	}
	if v, ok := a.s.Locals[name]; ok {
		return v, true
	}
	if table, ok := strings.CutPrefix(name, lookupPrefix); ok && a.lookups[table] != nil {
		return a.lookups[table].entries, true
	}
	return nil, false
}
