package app

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"

	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/kafka"
	"github.com/hms-sme/policysync/pkg/telemetry"
)

// maxLine is the longest line that Produce reads.
const maxLine = 16 << 20

// Line is one line of what Produce reads: the key, and the value as plain JSON
// (unions unwrapped); a null value is a tombstone.
type Line struct {
	Key   *string         `json:"key"`
	Value json.RawMessage `json:"value"`
}

// Produce reads lines from r, encodes each value with the newest schema of the
// topic, and writes them as records. It returns those that were acknowledged. The
// first bad line ends it, and names its number.
func Produce(ctx context.Context, cfg *config.Config, topic string, r io.Reader, version string, log *slog.Logger) (written []Written, err error) {
	tel, err := telemetry.Setup(ctx, cfg.Telemetry, version, log)
	if err != nil {
		return nil, err
	}
	defer tel.Shutdown(context.WithoutCancel(ctx))
	decoder, err := newDecoder(cfg)
	if err != nil {
		return nil, err
	}
	encoder, err := decoder.Encoder(ctx, topic)
	if err != nil {
		return nil, err
	}
	producer, err := kafka.NewProducer(cfg.Kafka, log)
	if err != nil {
		return nil, err
	}
	tracer := telemetry.NewTracer(tel.TracerProvider, "")
	var sent sent
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	number := 0
	for lines.Scan() && sent.failed() == nil && err == nil {
		number++
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var record *event.Record
		if record, err = encodeLine(lines.Bytes(), topic, encoder.Encode); err != nil {
			err = fmt.Errorf("line %d: %w", number, err)
			break
		}
		ctx, span := tracer.StartProduce(ctx, record)
		producer.Send(ctx, record, func(at event.Position, err error) {
			span.End()
			sent.done(Written{string(record.Key), at}, err)
		})
	}
	if err == nil && lines.Err() != nil {
		err = fmt.Errorf("read line %d: %w", number+1, lines.Err())
	}
	err = errors.Join(err, producer.Close(), sent.failed())
	return sent.written, err
}

func encodeLine(text []byte, topic string, encode func([]byte) ([]byte, error)) (*event.Record, error) {
	var line Line
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(&line)
	if err == nil && d.More() {
		err = errors.New("there is more after the object")
	}
	if err != nil {
		return nil, fmt.Errorf(`want {"key": "…", "value": {…}}: %w`, err)
	}
	record := &event.Record{Position: event.Position{Topic: topic}}
	if line.Key != nil {
		record.Key = []byte(*line.Key)
	}
	if line.Value == nil {
		return nil, errors.New(`"value" is missing; null is a tombstone`)
	}
	if string(line.Value) == "null" {
		return record, nil
	}
	if record.Value, err = encode(line.Value); err != nil {
		return nil, fmt.Errorf("value: %w", err)
	}
	return record, nil
}

// sent keeps what was acknowledged and the first failure.
type sent struct {
	mu      sync.Mutex
	written []Written
	err     error
}

func (s *sent) done(w Written, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.written = append(s.written, w)
	} else if s.err == nil {
		s.err = fmt.Errorf("send record: %w", err)
	}
}

func (s *sent) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
