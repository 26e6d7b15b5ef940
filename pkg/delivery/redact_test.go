package delivery

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/redact"
	"github.com/hms-sme/policysync/pkg/route"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// quoting is an event whose mail, a sensitive value, is quoted by the error of
// whatever the record's key names.
type quoting struct{ schema *event.Schema }

func mailOf(r *event.Record) string { return fmt.Sprintf("%d@example.gov", 1000+r.Offset) }

func (q quoting) fails(stage string, r *event.Record) error {
	if string(r.Key) != stage {
		return nil
	}
	return fmt.Errorf("no such overload: %q", mailOf(r))
}

func (q quoting) Decode(_ context.Context, r *event.Record) (*event.Object, *event.Schema, error) {
	return &event.Object{Names: []string{"mail"}, Values: []any{mailOf(r)}}, q.schema, nil
}

func (q quoting) Read(r *event.Record, value *event.Object, schema *event.Schema) (*event.Event, error) {
	if err := q.fails("read", r); err != nil {
		return nil, err
	}
	return &event.Event{Record: r, Key: string(r.Key), HasKey: true, Value: value, Schema: schema}, nil
}

func (q quoting) Route(ev *event.Event) route.Decision {
	return route.Decision{Targets: []route.Verdict{{Deliver: true, Err: q.fails("route", ev.Record)}}}
}

func (q quoting) Prepare(d *connector.Delivery) error {
	if string(d.Event.Record.Key) == "prepare panics" {
		panic(mailOf(d.Event.Record))
	}
	if string(d.Event.Record.Key) == "prepare errs badly" {
		return badError(mailOf(d.Event.Record))
	}
	return q.fails("prepare", d.Event.Record)
}

// concealed is how an error shows that something is left out of it.
const concealed = `\[redacted\]|an error of connector recording panicked\n`

// badError is an error that can't be printed.
type badError string

func (e badError) Error() string { panic(string(e)) }

// What is sensitive in an event stands in no letter, log line, span or receipt,
// whatever fails and quotes it.
func TestSensitiveValuesAreRedacted(t *testing.T) {
	t.Parallel()
	for _, batch := range []int{1, 10} {
		for _, marked := range []bool{true, false} {
			t.Run(fmt.Sprintf("batch %d, marked by the schema %v", batch, marked), func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) { redacts(t, batch, marked) })
			})
		}
	}
}

func redacts(t *testing.T, batch int, marked bool) {
	t.Helper()
	schema, err := event.ParseSchema(fmt.Sprintf(
		`{"type": "record", "name": "R", "fields": [{"name": "mail", "type": "string", "sensitive": %v}]}`, marked))
	require.NoError(t, err)
	q := quoting{schema}
	r := newRig(t, withTarget(func(s *Settings) {
		s.Batch.Size, s.Batch.Linger = batch, time.Second
		s.Retry.MaxAttempts = 2
	}))
	var log bytes.Buffer
	spans := tracetest.NewSpanRecorder()
	r.Decoder, r.Reader, r.Router = q, q, q
	r.Logger = slog.New(slog.NewTextHandler(&log, nil))
	r.Tracer = telemetry.NewTracer(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)), "group")
	target := r.Targets[0]
	target.prepare, target.log = q, r.Logger
	if !marked {
		r.Redact = redact.New([]redact.Path{"event.mail"})
		target.redact = r.Redact
	}
	published := []string{"read", "route", "prepare", "prepare panics", "prepare errs badly", "push", "push panics", "push errs badly"}
	r.targets[0].set(func(_ context.Context, d *connector.Delivery) error {
		all := mailOf(d.Event.Record)
		if batch > 1 && d.Attempt == 1 { // the error of a batch that fails whole quotes two of its rows
			all = "1005@example.gov 1006@example.gov"
		}
		switch d.Key {
		case "push panics":
			panic(mailOf(d.Event.Record))
		case "push errs badly":
			return badError(mailOf(d.Event.Record))
		}
		return errors.New("duplicate key: " + all)
	})
	r.publish(published...)
	<-time.After(time.Minute)
	synctest.Wait()

	c, err := r.p.Checkpoint()
	require.NoError(t, err)
	require.Len(t, c.Receipts, len(published))
	letters := r.letters.all()
	require.Len(t, letters, len(published))
	said := map[string]string{"log": log.String()}
	for _, l := range letters {
		require.Regexp(t, concealed, l.Error)
		said["letter "+l.ID] = fmt.Sprint(l)
	}
	for _, x := range c.Receipts {
		require.Regexp(t, concealed, x.Error)
		said["receipt "+x.Letter] = fmt.Sprint(x)
	}
	var failed int
	for i, s := range spans.Ended() {
		said[fmt.Sprint("span ", i)] = fmt.Sprint(s.Status(), s.Attributes(), s.Events())
		if s.Status().Description != "" {
			failed++
			require.Regexp(t, concealed, s.Status().Description)
		}
	}
	require.Positive(t, failed)
	require.Contains(t, log.String(), redact.Mark)
	for where, text := range said {
		require.NotContains(t, text, "@example.gov", where)
	}
}
