// Package route says which targets get an event: those that it names, else all,
// each if its filter holds. It is pure; what becomes of a name that no target has
// is for the caller, and how an event tells names is package mapping's.
package route

import (
	"fmt"
	"slices"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Target is what routing knows of a target.
type Target struct {
	Name string
	// Topics are those that the target takes events of; nil for all.
	Topics []string
	// When must hold for an event to be delivered; nil always does. Its result is
	// a bool.
	When *connector.Expr
}

// Router routes events. It is safe for concurrent use.
type Router struct {
	targets       []Target
	index         map[string]int
	ignoreUnknown bool
}

// Decision is what becomes of one event.
type Decision struct {
	// Targets has a verdict for each target, in the order that New was given.
	Targets []Verdict
	// Unknown are the names in the event that no target has; none are reported if
	// they are to be ignored.
	Unknown []string
}

// Verdict is what one target gets. Err is why its filter could not be evaluated;
// unless it is nil Deliver is false.
type Verdict struct {
	Deliver bool
	Err     error
}

// New returns a router. With ignoreUnknown, names that no target has are somebody
// else's, as where several releases share a topic.
func New(targets []Target, ignoreUnknown bool) *Router {
	r := &Router{targets: targets, index: map[string]int{}, ignoreUnknown: ignoreUnknown}
	for i, t := range targets {
		r.index[t.Name] = i
	}
	return r
}

// Route decides about one event. A tombstone goes to every target of its topic,
// and skips the filters: it has no value that could be asked.
func (r *Router) Route(ev *event.Event) Decision {
	d := Decision{Targets: make([]Verdict, len(r.targets))}
	if len(ev.Targets) == 0 {
		for i := range r.targets {
			d.Targets[i] = r.targets[i].judge(ev)
		}
		return d
	}
	for _, name := range ev.Targets {
		i, known := r.index[name]
		switch {
		case known:
			d.Targets[i] = r.targets[i].judge(ev)
		case !r.ignoreUnknown && !slices.Contains(d.Unknown, name):
			d.Unknown = append(d.Unknown, name)
		}
	}
	return d
}

func (t *Target) judge(ev *event.Event) Verdict {
	if t.Topics != nil && !slices.Contains(t.Topics, ev.Topic) {
		return Verdict{}
	}
	if t.When.IsZero() || ev.Tombstone() {
		return Verdict{Deliver: true}
	}
	v, err := t.When.Eval(connector.Scope{Event: ev})
	if err != nil {
		return Verdict{Err: fmt.Errorf("filter: %w", err)}
	}
	holds, ok := v.(bool)
	if !ok {
		return Verdict{Err: fmt.Errorf("filter: %s: the result is %T, want true or false", t.When.Place.Path, v)}
	}
	return Verdict{Deliver: holds}
}
