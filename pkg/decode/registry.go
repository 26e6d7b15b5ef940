package decode

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"github.com/hms-sme/policysync/pkg/event"
)

const (
	// tries bounds how often one question is asked; the caller asks again later.
	tries = 3
	// pause is the longest wait before the second try; it doubles after each.
	pause = 200 * time.Millisecond
	// patience bounds one try.
	patience = 10 * time.Second
	// unknownFor is how long an id that the registry does not know is not asked for
	// again. A record can be ahead of a registry that lags, so it must be short.
	unknownFor = 5 * time.Second
	// maxUnknown bounds how many such ids are kept: garbage can name any.
	maxUnknown = 1000
	// maxReferences bounds how many other schemas one schema may draw in.
	maxReferences = 200
)

// The error codes of Confluent's API that mean: there is no such thing.
const (
	codeNoSubject = 40401
	codeNoVersion = 40402
	codeNoSchema  = 40403
)

// Registry is a client of a schema registry that speaks Confluent's API. It asks
// for each schema once, and it is safe for concurrent use.
type Registry struct {
	client *sr.Client
	// mu guards the maps. No question is asked under it: two who miss the same
	// schema both ask, and the first answer stays, since a schema's pointer is its
	// identity.
	mu      sync.Mutex
	schemas map[int]*event.Schema
	unknown map[int]refusal
}

// refusal is an id without a usable schema, and until when that is believed.
type refusal struct {
	err   error
	until time.Time
}

// NewRegistry returns a client that has not yet spoken to the registry. The HTTP
// client carries credentials and TLS.
func NewRegistry(address string, client *http.Client) (*Registry, error) {
	c, err := sr.NewClient(sr.URLs(address), sr.HTTPClient(client), sr.UserAgent("policysync"))
	if err != nil {
		return nil, fmt.Errorf("make registry client: %w", err)
	}
	return &Registry{client: c, schemas: map[int]*event.Schema{}, unknown: map[int]refusal{}}, nil
}

// Schema returns the schema with the given id, its references inlined. An
// [*UndecodableError] means that there is no such schema or that it is not Avro.
func (r *Registry) Schema(ctx context.Context, id int) (*event.Schema, error) {
	s, err := r.cached(id)
	if s != nil || err != nil {
		return s, err
	}
	var answer sr.Schema
	err = r.ask(ctx, func(ctx context.Context) (err error) {
		answer, err = r.client.SchemaByID(ctx, id)
		return err
	})
	if none(err, codeNoSchema, codeNoSubject) {
		return nil, r.refuse(id, undecodable(UnknownSchema, "schema id %d: the registry does not know it", id))
	}
	if err != nil {
		return nil, err
	}
	return r.parse(ctx, id, answer)
}

// cached returns the schema if it is known, an error if it is known to be none.
func (r *Registry) cached(id int) (*event.Schema, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.schemas[id]
	if u, ok := r.unknown[id]; ok && s == nil && time.Now().Before(u.until) {
		return nil, u.err
	}
	return s, nil
}

func (r *Registry) refuse(id int, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.unknown) >= maxUnknown {
		clear(r.unknown)
	}
	r.unknown[id] = refusal{err: err, until: time.Now().Add(unknownFor)}
	return err
}

// parse makes a schema of the registry's answer and keeps it.
func (r *Registry) parse(ctx context.Context, id int, answer sr.Schema) (*event.Schema, error) {
	if answer.Type != sr.TypeAvro {
		return nil, r.refuse(id, undecodable(BadSchema, "schema id %d: its type is %s, want AVRO", id, answer.Type))
	}
	text, err := r.inline(ctx, answer)
	var s *event.Schema
	if err == nil {
		s, err = event.ParseSchema(text)
	}
	if _, ok := errors.AsType[*UnavailableError](err); ok {
		return nil, err
	}
	if err != nil {
		return nil, r.refuse(id, undecodable(BadSchema, "schema id %d: %w", id, err))
	}
	s.ID = id
	r.mu.Lock()
	defer r.mu.Unlock()
	if first := r.schemas[id]; first != nil {
		return first, nil
	}
	r.schemas[id] = s
	return s, nil
}

// Versions returns every version of a subject, the oldest first, and nothing if
// there is no such subject.
func (r *Registry) Versions(ctx context.Context, subject string) ([]*event.Schema, error) {
	var answers []sr.SubjectSchema
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		answers, err = r.client.Schemas(ctx, subject)
		return err
	})
	if none(err, codeNoSubject) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("subject %q: %w", subject, err)
	}
	all := make([]*event.Schema, 0, len(answers))
	for _, a := range answers {
		s, err := r.cached(a.ID)
		if s == nil {
			s, err = r.parse(ctx, a.ID, a.Schema)
		}
		if err != nil {
			return nil, fmt.Errorf("subject %q version %d: %w", subject, a.Version, err)
		}
		all = append(all, s)
	}
	return all, nil
}

// Register adds a schema to a subject and returns it with its id. A schema that
// the subject has already keeps its id.
func (r *Registry) Register(ctx context.Context, subject, text string) (*event.Schema, error) {
	if _, err := event.ParseSchema(text); err != nil {
		return nil, fmt.Errorf("register for subject %q: %w", subject, err)
	}
	var id int
	err := r.ask(ctx, func(ctx context.Context) (err error) {
		id, err = r.client.RegisterSchema(ctx, subject, sr.Schema{Schema: text}, -1, -1)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("register for subject %q: %w", subject, err)
	}
	return r.parse(ctx, id, sr.Schema{Schema: text})
}

// Check asks for a list of no use, to see whether the registry lets us in.
func (r *Registry) Check(ctx context.Context) error {
	return r.ask(ctx, func(ctx context.Context) error {
		_, err := r.client.Subjects(sr.WithParams(ctx, sr.Limit(1)))
		return err
	})
}

// ask puts one question until it is answered, at most tries times. It returns what
// the registry said, or an [*UnavailableError].
func (r *Registry) ask(ctx context.Context, question func(context.Context) error) error {
	for try := 1; ; try++ {
		err := func() error {
			ctx, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			return question(ctx)
		}()
		if err == nil || answered(err) {
			return err
		}
		err = &UnavailableError{Err: redacted(err)}
		if try == tries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(rand.N(pause << (try - 1))):
		}
	}
}

// answered reports that the registry understood the question and said no. To be
// refused entry, or to be told about a page that is not there by something other
// than a registry, is no such answer.
func answered(err error) bool {
	e, ok := errors.AsType[*sr.ResponseError](err)
	return ok && (none(err, codeNoSubject, codeNoVersion, codeNoSchema) ||
		e.StatusCode == http.StatusConflict || e.StatusCode == http.StatusUnprocessableEntity)
}

// none reports an answer with one of the codes that say: there is no such thing.
func none(err error, codes ...int) bool {
	e, ok := errors.AsType[*sr.ResponseError](err)
	return ok && slices.Contains(codes, e.ErrorCode)
}

// redacted drops the client's own text, which quotes the address as configured.
func redacted(err error) error {
	if answer, ok := errors.AsType[*sr.ResponseError](err); ok {
		return fmt.Errorf("status %d: %.200s", answer.StatusCode, answer.Error())
	}
	if transport, ok := errors.AsType[*url.Error](err); ok {
		return transport
	}
	return err
}

// Compatible asks whether a schema could be the next version of a subject, by the
// subject's own compatibility rule. If not, the reasons say why. A subject that does
// not exist takes any schema.
func (r *Registry) Compatible(ctx context.Context, subject, text string) (ok bool, reasons []string, err error) {
	var answer sr.CheckCompatibilityResult
	err = r.ask(ctx, func(ctx context.Context) (err error) {
		answer, err = r.client.CheckCompatibility(sr.WithParams(ctx, sr.Verbose), subject, -1, sr.Schema{Schema: text})
		return err
	})
	if none(err, codeNoSubject, codeNoVersion) {
		return true, nil, nil
	}
	if err != nil {
		return false, nil, fmt.Errorf("subject %q: %w", subject, err)
	}
	return answer.Is, answer.Messages, nil
}
