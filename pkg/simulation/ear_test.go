package simulation

import (
	"context"
	"log/slog"
	"slices"
)

// ear listens to what a process logs.
type ear struct {
	level slog.Level
	heard func(text string, said map[string]slog.Value)
	attrs []slog.Attr
}

// Enabled implements [slog.Handler].
func (e *ear) Enabled(_ context.Context, l slog.Level) bool { return l >= e.level }

// Handle implements [slog.Handler].
func (e *ear) Handle(_ context.Context, r slog.Record) error {
	said := map[string]slog.Value{}
	for _, a := range e.attrs {
		said[a.Key] = a.Value
	}
	r.Attrs(func(a slog.Attr) bool { said[a.Key] = a.Value; return true })
	e.heard(r.Message, said)
	return nil
}

// WithAttrs implements [slog.Handler].
func (e *ear) WithAttrs(as []slog.Attr) slog.Handler {
	return &ear{e.level, e.heard, append(slices.Clip(e.attrs), as...)}
}

// WithGroup implements [slog.Handler].
func (e *ear) WithGroup(string) slog.Handler { return e }

// heard notes what a process reports as lost, and which of its own mistakes it notices.
func (c *checker) heard(text string, said map[string]slog.Value) {
	switch text {
	case "records were deleted from the log before they were delivered: lost before delivery":
		c.lost(said["target"].String(), int(said["partition"].Int64()), said["from"].Int64(), said["to"].Int64())
	case "delivery settled twice, which is a bug: please report it":
		c.fail("%s: %v", text, said["err"])
	}
}
