// Package connectortest is the conformance suite of the connector contract: one
// call of [Run] proves, for one connector and a real or fake external system, what
// the doc comments of package connector promise to the delivery engine. It owns
// the deliveries and the expectations; the connector's own test brings the
// external system, and a config whose expressions fit [Schema].
package connectortest

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Harness says how to test one kind of connector, and which of the promises that
// depend on its external system it makes.
type Harness struct {
	// New makes the external system, empty, and a connector to it, for one case. It
	// cleans up by t.Cleanup what is its own; the suite closes the connector.
	New func(t *testing.T) System
	// Guarded promises that a change older than what the external system holds
	// changes nothing and settles as stale.
	Guarded bool
	// RefusesBadTitle promises that a record with [BadTitle] fails as permanent.
	RefusesBadTitle bool
	// Secrets are texts of the config that may not appear in any error.
	Secrets []string
}

// System is one connector with the external system behind it.
type System struct {
	Connector connector.Connector
	// Applied reads back what the external system holds now, by its own means: the
	// live records by key, without those that were deleted.
	Applied func(t *testing.T) map[string]Record
	// Fail makes each push end in an error of the class until heal is called. A
	// class that the external system cannot produce is left out.
	Fail map[connector.Class]func(t *testing.T) (heal func())
	// Stall makes the external system leave each push without an answer until the
	// case ends; arrived receives or is closed once a push waits there. Nil if the
	// external system cannot be slow.
	Stall func(t *testing.T) (arrived <-chan struct{})
}

// Record is what a push of the suite leaves in the external system: two of the
// fields of [Schema], as the expressions event.title and event.version give them.
type Record struct {
	Title   string
	Version int64
}

// Run runs the suite, one subtest per sentence of the contract. It looks for
// leaked goroutines, so the test that calls it must not be parallel.
func Run(t *testing.T, h Harness) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*trial)
	}{
		{"a nil error means applied", appliesUpserts},
		{"the same delivery can come back", repeats},
		{"deletes, also of what is gone", deletes},
		{"keys are pushed in parallel", pushesInParallel},
		{"older changes are stale", guards},
		{"errors have their class", classifies},
		{"a context that ends stops a push", stopsWithContext},
		{"close stops a push", stopsWithClose},
		{"a document prints", preparesDocument},
		{"check changes nothing", checks},
		{"inspect reads back", inspects},
		{"compare tells what differs", compares},
		{"a batch answers for each delivery", pushesBatch},
		{"a bad row fails alone", isolatesBadRow},
		{"a batch applies in order", ordersBatch},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(start(t, h)) })
	}
}

// trial is one case under way.
type trial struct {
	*testing.T
	System
	harness Harness
	closed  bool
}

func start(t *testing.T, h Harness) *trial {
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	s := &trial{T: t, System: h.New(t), harness: h}
	t.Cleanup(func() {
		if !s.closed {
			s.close()
		}
	})
	return s
}

func (s *trial) close() {
	s.closed = true
	// The context of a test has ended when its clean-up runs.
	if err := s.Connector.Close(context.WithoutCancel(s.Context())); err != nil {
		s.Errorf("close: %v", err)
	}
}

// push prepares a delivery and pushes it. It wipes the delivery afterwards: a
// connector that keeps it, which the contract forbids, races or finds nothing.
func (s *trial) push(ctx context.Context, c change) (connector.Receipt, error) {
	d, err := s.delivery(c)
	if err != nil {
		return connector.Receipt{}, err
	}
	receipt, err := s.Connector.Push(ctx, d)
	*d = connector.Delivery{}
	s.redacted(err)
	return receipt, err
}

func (s *trial) mustPush(c change) {
	s.Helper()
	receipt, err := s.push(s.Context(), c)
	require.NoError(s, err)
	require.False(s, receipt.Stale, "the change is new, but settled as stale")
}

func (s *trial) redacted(err error) {
	for _, secret := range s.harness.Secrets {
		if err != nil && strings.Contains(err.Error(), secret) {
			s.Errorf("the error gives a secret away: %v", err)
		}
	}
}
