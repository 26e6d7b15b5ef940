package deadletter

import (
	"slices"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/event"
)

// Filter selects dead letters. A zero field selects all.
type Filter struct {
	IDs    []string `json:"ids,omitempty"`
	Target string   `json:"target,omitempty"`
	Class  string   `json:"class,omitempty"`
	// Key is the record's key; nil selects all. A letter that is a reference holds none.
	Key *string `json:"key,omitempty"`
	// Error is a part of the error's text.
	Error string `json:"error,omitempty"`
	// Since is when the letter was written, at the earliest.
	Since time.Time `json:"since,omitzero"`
}

// All reports whether the filter selects every letter.
func (f *Filter) All() bool {
	return len(f.IDs) == 0 && f.Target == "" && f.Class == "" && f.Key == nil && f.Error == "" && f.Since.IsZero()
}

// Selects reports whether the filter selects a letter, which is on the topic since
// written; original is nil if it is a reference.
func (f *Filter) Selects(l *Letter, original *event.Record, written time.Time) bool {
	return (len(f.IDs) == 0 || slices.Contains(f.IDs, l.ID)) &&
		(f.Target == "" || f.Target == l.Target) && (f.Class == "" || f.Class == l.Class) &&
		(f.Key == nil || original != nil && original.Key != nil && *f.Key == string(original.Key)) &&
		strings.Contains(l.Error, f.Error) && !written.Before(f.Since)
}
