package connector

import (
	"context"
	"fmt"
	"time"
)

// Registry maps the name of a connector, as `connector:` gives it, to its kind.
type Registry map[string]Kind

// Kind describes one kind of connector.
type Kind struct {
	// Config returns a pointer to a new config struct. The config decoder fills it
	// by its yaml tags from the target's part of the file. Beside scalars, structs,
	// slices and maps a field may be a Secret, Bytes, *Expr, *Text or *Tree; the
	// expressions are compiled before New is called.
	Config func() any
	// New makes the connector. It does no I/O that could block for long: a target
	// that is down must not keep the process from starting.
	New func(ctx context.Context, cfg any, env Env) (Connector, error)
	// BatchSize and BatchLinger are the defaults of batch.size and batch.linger;
	// 0 stands for 1 and no linger. BatchSize > 1 means New gives a BatchConnector.
	BatchSize   int
	BatchLinger time.Duration
}

// KindOf makes a Kind from a constructor that takes its own config type.
func KindOf[C any](construct func(context.Context, *C, Env) (Connector, error)) Kind {
	return Kind{
		Config: func() any { return new(C) },
		New: func(ctx context.Context, cfg any, env Env) (Connector, error) {
			c, ok := cfg.(*C)
			if !ok {
				return nil, fmt.Errorf("make connector: config is %T, want %T", cfg, c)
			}
			return construct(ctx, c, env)
		},
	}
}

// Defaulter is what a config implements to fill in defaults that a `default` tag
// cannot say, such as a map. It is called after decoding, before Validate.
type Defaulter interface{ SetDefaults() }

// Batcher is what a config implements if it says whether its connector takes
// batches: the defaults in place of those of the [Kind].
type Batcher interface {
	Batches() (size int, linger time.Duration)
}

// Guard is what a config implements if its target refuses a version that is older than
// what it has: such a target may be sent old versions again.
type Guard interface{ ChecksVersions() bool }

// Validator is what a config implements to report mistakes that types cannot show.
type Validator interface{ Validate() []Mistake }

// Mistake is one thing wrong with a config. Path leads down from the target, such
// as update.url; empty means the target as a whole.
type Mistake struct {
	Path    string
	Message string
}

// Looper is what a struct inside a config implements if its expressions are
// evaluated once per item of a list: Loop returns the expression of the list and
// the name under which the other expressions of the same struct see the item. A
// nil expression means that this one does not loop.
type Looper interface {
	Loop() (list *Expr, item string)
}
