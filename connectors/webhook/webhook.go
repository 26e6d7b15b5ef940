// Package webhook is the connector that tells a partner of each change by a signed
// POST, as the Standard Webhooks specification has it (standardwebhooks.com). It
// owns the envelope, the signature and what an endpoint's answer means; how a
// request is sent, and the class of a failure on the way, belong to package
// httpclient.
package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// Config is the part of a target that connector webhook reads.
type Config struct {
	httpclient.Config `yaml:",inline"`
	// URL is the partner's endpoint. It has no expressions: whom a change is for is
	// not the event's to say.
	URL     string  `yaml:"url" required:"true"`
	Signing Signing `yaml:"signing"`
	// Type is the envelope's type; without it the event's own.
	Type *connector.Expr `yaml:"type" want:"string"`
	// DeletedType is the type of the envelope that tells of a deleted key.
	DeletedType string `yaml:"deleted_type" default:"policyDeleted"`
	// Map makes the envelope's data; without it data is the whole event. That of a
	// deleted key is null.
	Map *connector.Tree `yaml:"map"`
}

// Signing is what the partner verifies a request by.
type Signing struct {
	// Secrets are shared with the partner: whsec_ and base64 of 24 to 64 bytes. Each
	// request carries a signature by each of them, so that a secret is replaced
	// without a gap: put the new one first, and take the old one away when the
	// partner has the new one.
	Secrets []connector.Secret `yaml:"secrets" required:"true"`
}

// Validate reports what the types of the fields cannot say.
func (c *Config) Validate() []connector.Mistake {
	if _, err := httpclient.ParseURL(c.URL); err != nil {
		return []connector.Mistake{{Path: "url", Message: err.Error()}}
	}
	return nil
}

// Connector posts to one endpoint. It is a [connector.Preparer] and a
// [connector.Checker].
type Connector struct {
	config *Config
	client *httpclient.Client
}

// Kind returns the kind of this connector.
func Kind() connector.Kind { return connector.KindOf(New) }

// New makes the connector. It connects to nothing.
func New(_ context.Context, cfg *Config, env connector.Env) (connector.Connector, error) {
	client, err := httpclient.New(cfg.Config, httpclient.Options{Concurrency: env.Concurrency})
	if err != nil {
		return nil, err
	}
	return &Connector{config: cfg, client: client}, nil
}

// Prepare makes the envelope, which is the delivery's document.
func (c *Connector) Prepare(d *connector.Delivery) error {
	scope := connector.Scope{Event: d.Event}
	kind, data := c.config.DeletedType, any(nil)
	if d.Op == connector.Upsert {
		var err error
		if kind, data, err = c.read(scope); err != nil {
			return err
		}
	}
	envelope := &event.Object{
		Names:  []string{"type", "timestamp", "key"},
		Values: []any{kind, d.Event.Timestamp, d.Key},
	}
	if d.Version.Known {
		envelope.Add("version", d.Version.Value)
	}
	envelope.Add("data", data)
	body, err := event.JSON(envelope)
	if err != nil {
		return fmt.Errorf("write body: %w", err)
	}
	d.Document = json.RawMessage(body)
	return nil
}

func (c *Connector) read(scope connector.Scope) (kind string, data any, err error) {
	kind, data = scope.Event.Type, scope.Event.Value
	if !c.config.Type.IsZero() {
		value, err := c.config.Type.Eval(scope)
		if err != nil {
			return "", nil, err
		}
		if kind, err = event.Text(value); err != nil {
			return "", nil, fmt.Errorf("%s: %w", c.config.Type.Place.Path, err)
		}
	}
	if !c.config.Map.IsZero() {
		data, err = c.config.Map.Eval(scope)
	}
	return kind, data, err
}

// Push posts the envelope.
func (c *Connector) Push(ctx context.Context, d *connector.Delivery) (connector.Receipt, error) {
	body, ok := d.Document.(json.RawMessage)
	if !ok {
		return connector.Receipt{}, fmt.Errorf("push %q: the delivery was not prepared", d.ID)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.URL, bytes.NewReader(body))
	if err != nil {
		return connector.Receipt{}, connector.AsUnavailable(fmt.Errorf("make request: %w", err))
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "policysync")
	if err := c.sign(req.Header, messageID(d.ID), time.Now(), body); err != nil {
		return connector.Receipt{}, connector.AsUnavailable(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return connector.Receipt{}, err
	}
	switch status := resp.Status; {
	case status >= 200 && status < 300:
		return connector.Receipt{}, nil
	case status >= 300 && status < 400, status == http.StatusNotFound, status == http.StatusMethodNotAllowed, status == http.StatusGone:
		// The endpoint itself is wrong or gone, which is no fault of this change.
		return connector.Receipt{}, connector.AsUnavailable(resp.Err())
	}
	return connector.Receipt{}, resp.Err()
}

// messageID names a change to the partner: the same for each attempt, without the
// full stop that separates what is signed.
func messageID(id string) string {
	sum := sha256.Sum256([]byte(id))
	return "msg_" + hex.EncodeToString(sum[:16])
}

// sign adds the headers of the specification. An error is a secret that cannot be
// used, which the operator has to put right.
func (c *Connector) sign(header http.Header, id string, now time.Time, body []byte) error {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	signatures := make([]string, len(c.config.Signing.Secrets))
	for i, secret := range c.config.Signing.Secrets {
		key, err := keyOf(secret)
		if err != nil {
			return fmt.Errorf("read signing secret %d: %w", i+1, err)
		}
		mac := hmac.New(sha256.New, key)
		fmt.Fprintf(mac, "%s.%s.", id, timestamp)
		mac.Write(body)
		signatures[i] = "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	header.Set("Webhook-Id", id)
	header.Set("Webhook-Timestamp", timestamp)
	header.Set("Webhook-Signature", strings.Join(signatures, " "))
	return nil
}

// keyOf reads a secret, of whose text no error may say anything.
func keyOf(s connector.Secret) ([]byte, error) {
	text, err := s.Reveal()
	if err != nil {
		return nil, err
	}
	encoded, prefixed := strings.CutPrefix(text, "whsec_")
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil || !prefixed || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("want whsec_ and base64 of 24 to 64 bytes")
	}
	return key, nil
}

// Check reports whether the endpoint answers and the secrets can be used. It posts
// nothing, and an endpoint may well refuse whatever else it is sent: only an answer
// that says that nobody is there counts.
func (c *Connector) Check(ctx context.Context) error {
	if err := c.sign(http.Header{}, "", time.Time{}, nil); err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.config.URL, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	switch resp.Status {
	case http.StatusGone, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return resp.Err()
	}
	return nil
}

// Close ends the posts in flight.
func (c *Connector) Close(context.Context) error {
	c.client.Close()
	return nil
}
