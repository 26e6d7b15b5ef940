package route_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/route"
)

// answer is a filter that gives the same for every event.
type answer struct {
	value any
	err   error
}

func (a answer) Eval(connector.Scope) (any, error) { return a.value, a.err }

var errFilter = errors.New("no such key")

func when(a answer) *connector.Expr {
	return &connector.Expr{Source: "x", Place: connector.Place{Path: "when"}, Program: a}
}

// targets are one of each sort: open takes all, some only of one topic, no and
// broken have filters.
func targets() []route.Target {
	return []route.Target{
		{Name: "open"},
		{Name: "some", Topics: []string{"policies"}, When: when(answer{value: true})},
		{Name: "no", When: when(answer{value: false})},
		{Name: "broken", When: when(answer{err: errFilter})},
	}
}

func change(topic string, names ...string) *event.Event {
	return &event.Event{Record: &event.Record{Position: event.Position{Topic: topic}, Value: []byte{0}}, Targets: names}
}

func TestRoute(t *testing.T) {
	t.Parallel()
	deliver, filtered, failed := route.Verdict{Deliver: true}, route.Verdict{}, route.Verdict{Err: errFilter}
	tombstone := change("policies")
	tombstone.Record.Value = nil
	elsewhere := change("processes")
	elsewhere.Record.Value = nil
	for _, row := range []struct {
		name          string
		ignoreUnknown bool
		event         *event.Event
		want          route.Decision
	}{
		{"no names", false, change("policies"), route.Decision{Targets: []route.Verdict{deliver, deliver, filtered, failed}}},
		{"another topic", false, change("processes"), route.Decision{Targets: []route.Verdict{deliver, filtered, filtered, failed}}},
		{"one name", false, change("policies", "some"), route.Decision{Targets: []route.Verdict{filtered, deliver, filtered, filtered}}},
		{"a name passes its filter", false, change("policies", "no", "open"), route.Decision{Targets: []route.Verdict{deliver, filtered, filtered, filtered}}},
		{"a name whose filter fails", false, change("policies", "broken"), route.Decision{Targets: []route.Verdict{filtered, filtered, filtered, failed}}},
		{
			"unknown names, each once", false, change("policies", "x", "open", "x", "y"),
			route.Decision{Targets: []route.Verdict{deliver, filtered, filtered, filtered}, Unknown: []string{"x", "y"}},
		},
		{"only unknown names go nowhere", true, change("policies", "x"), route.Decision{Targets: []route.Verdict{filtered, filtered, filtered, filtered}}},
		{"a tombstone skips filters", false, tombstone, route.Decision{Targets: []route.Verdict{deliver, deliver, deliver, deliver}}},
		{"a tombstone of another topic", false, elsewhere, route.Decision{Targets: []route.Verdict{deliver, filtered, deliver, deliver}}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got := route.New(targets(), row.ignoreUnknown).Route(row.event)
			require.Empty(t, cmp.Diff(row.want, got, cmpopts.EquateErrors()))
		})
	}
}

func TestRouteNeedsABool(t *testing.T) {
	t.Parallel()
	for _, value := range []any{nil, "true", int64(1)} {
		d := route.New([]route.Target{{Name: "t", When: when(answer{value: value})}}, false).Route(change("policies"))
		require.ErrorContains(t, d.Targets[0].Err, "want true or false")
	}
}

func BenchmarkRoute(b *testing.B) {
	r := route.New(targets(), false)
	ev := change("policies", "open", "some")
	b.ReportAllocs()
	for b.Loop() {
		r.Route(ev)
	}
}
