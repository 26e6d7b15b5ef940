package decode

import (
	"encoding/binary"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/event"
)

const (
	// maxNesting bounds how deep values nest: a recursive schema would else let the
	// bytes decide how much stack decoding takes.
	maxNesting = 500
	// freeValues and valuesPerByte bound how many values a record may hold. Nulls
	// and empty records take no bytes, so that a few bytes could ask for billions.
	freeValues    = 1 << 16
	valuesPerByte = 4
)

var (
	errShort     = errors.New("the bytes end in the middle of a value")
	errOverlong  = errors.New("a number is longer than its type")
	errNesting   = errors.New("values nest deeper than " + strconv.Itoa(maxNesting))
	errTooMany   = errors.New("more values than so few bytes may stand for")
	errNotUTF8   = errors.New("a string is not UTF-8")
	errLength    = errors.New("a length is negative")
	errBlockSize = errors.New("a block has another size than it says")
)

// guard walks over the bytes of a value without allocating anything for it, and
// tells whether they are exactly what the schema says. Only then does a plan see
// them: it believes every count that it reads, as goavro does.
func guard(root *event.Type, b []byte) error {
	g := guardWalk{b: b, values: freeValues + valuesPerByte*len(b)}
	err := g.walk(root)
	switch {
	case errors.Is(err, errNesting), errors.Is(err, errTooMany):
		return &UndecodableError{Reason: Oversized, Err: err}
	case err != nil:
		return &UndecodableError{Reason: Malformed, Err: err}
	case len(g.b) > 0:
		return undecodable(Malformed, "%d bytes are left over after the value", len(g.b))
	}
	return nil
}

type guardWalk struct {
	b      []byte // what is still to be read
	depth  int
	values int // how many more there may be
}

func (g *guardWalk) walk(t *event.Type) error {
	if g.values--; g.values < 0 {
		return errTooMany
	}
	switch t.Kind {
	case event.Null:
		return nil
	case event.Boolean:
		if len(g.b) > 0 && g.b[0] > 1 {
			return errors.New("a boolean is neither 0 nor 1")
		}
		return g.skip(1)
	case event.Int:
		return g.int32()
	case event.Long:
		_, err := g.long()
		return err
	case event.Float:
		return g.skip(4)
	case event.Double:
		return g.skip(8)
	case event.Fixed:
		return g.skip(t.Size)
	case event.Bytes:
		_, err := g.bytes()
		return err
	case event.String:
		return g.string()
	case event.Enum:
		_, err := g.index(len(t.Symbols), "symbol")
		return err
	default:
		return g.parts(t)
	}
}

// parts walks over a type that holds others.
func (g *guardWalk) parts(t *event.Type) error {
	if g.depth++; g.depth > maxNesting {
		return errNesting
	}
	defer func() { g.depth-- }()
	switch t.Kind {
	case event.Rec:
		for _, f := range t.Fields {
			if err := g.walk(f.Type); err != nil {
				return below(f.Name, err)
			}
		}
		return nil
	case event.Union:
		i, err := g.index(len(t.Branches), "branch")
		if err != nil {
			return err
		}
		return g.walk(t.Branches[i])
	default:
		return g.blocks(t)
	}
}

// blocks reads an array or a map.
func (g *guardWalk) blocks(t *event.Type) error {
	for i := 0; ; {
		count, err := g.long()
		if count == 0 || err != nil {
			return err
		}
		end := -1 // how many bytes are left after the block, if it says so
		if count < 0 {
			if count = -count; count == math.MinInt64 {
				return errOverlong
			}
			size, err := g.long()
			if err != nil {
				return err
			}
			if size < 0 || size > int64(len(g.b)) {
				return errBlockSize
			}
			end = len(g.b) - int(size)
		}
		for ; count > 0; count-- {
			if t.Kind == event.Map {
				if err := g.string(); err != nil {
					return below("{}", err)
				}
			}
			if err := g.walk(t.Items); err != nil {
				return below("["+strconv.Itoa(i)+"]", err)
			}
			i++
		}
		if end >= 0 && len(g.b) != end {
			return errBlockSize
		}
	}
}

func (g *guardWalk) skip(n int) error {
	if n > len(g.b) {
		return errShort
	}
	g.b = g.b[n:]
	return nil
}

func (g *guardWalk) long() (int64, error) {
	v, n := binary.Varint(g.b)
	switch {
	case n == 0:
		return 0, errShort
	case n < 0:
		return 0, errOverlong
	}
	g.b = g.b[n:]
	return v, nil
}

func (g *guardWalk) int32() error {
	v, err := g.long()
	if err == nil && v != int64(int32(v)) {
		return errOverlong
	}
	return err
}

func (g *guardWalk) index(n int, what string) (int, error) {
	i, err := g.long()
	if err != nil {
		return 0, err
	}
	if i < 0 || i >= int64(n) {
		return 0, errors.New("there is no " + what + " " + strconv.FormatInt(i, 10))
	}
	return int(i), nil
}

func (g *guardWalk) bytes() ([]byte, error) {
	n, err := g.long()
	switch {
	case err != nil:
		return nil, err
	case n < 0:
		return nil, errLength
	case n > int64(len(g.b)):
		return nil, errShort
	}
	b := g.b[:n]
	g.b = g.b[n:]
	return b, nil
}

func (g *guardWalk) string() error {
	b, err := g.bytes()
	if err == nil && !utf8.Valid(b) {
		return errNotUTF8
	}
	return err
}

// pathError says where in a value something is wrong.
type pathError struct {
	path string
	err  error
}

func (e *pathError) Error() string { return e.path + ": " + e.err.Error() }
func (e *pathError) Unwrap() error { return e.err }

// below adds a step, a field's name or an index, before the path of err.
func below(step string, err error) error {
	p, ok := errors.AsType[*pathError](err)
	if !ok {
		return &pathError{path: step, err: err}
	}
	if !strings.HasPrefix(p.path, "[") {
		step += "."
	}
	p.path = step + p.path
	return p
}
