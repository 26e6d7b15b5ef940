package httpclient

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// renewPause is the least time between two tries to renew a token that still works.
const renewPause = 5 * time.Second

// tokens fetches the access token of the client credentials grant (RFC 6749,
// section 4.4) and keeps it until nine tenths of its life are over. While the
// token endpoint is down, a token that still works goes on being used.
type tokens struct {
	config *OAuth2
	client *Client
	// turn is held by the one request that is under way. It is a channel, so that a
	// push whose context ends does not wait for the token endpoint.
	turn chan struct{}
	// mu guards what follows, which is also read while a request is under way.
	mu      sync.Mutex
	token   string
	renewAt time.Time
	expires time.Time // zero: the endpoint did not say
}

func newTokens(cfg *OAuth2, proxy connector.Secret) (*tokens, error) {
	client, err := New(Config{TLS: cfg.TLS, Proxy: proxy}, Options{})
	if err != nil {
		return nil, fmt.Errorf("auth.oauth2: %w", err)
	}
	return &tokens{config: cfg, client: client, turn: make(chan struct{}, 1)}, nil
}

// get returns a token. A token that a server has refused is not returned again.
func (t *tokens) get(ctx context.Context, refused string) (string, error) {
	if token := t.current(refused); token != "" {
		return token, nil
	}
	select {
	case t.turn <- struct{}{}:
		defer func() { <-t.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if token := t.current(refused); token != "" { // another has fetched it meanwhile
		return token, nil
	}
	token, life, err := t.fetch(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	switch {
	case err == nil && life > 0:
		t.token, t.renewAt, t.expires = token, now.Add(life*9/10), now.Add(life)
	case err == nil:
		t.token, t.renewAt, t.expires = token, time.Time{}, time.Time{}
	case t.token != "" && t.token != refused && now.Before(t.expires):
		t.renewAt = now.Add(renewPause)
	default:
		t.token = ""
		return "", fmt.Errorf("fetch token: %w", err)
	}
	return t.token, nil
}

// current returns the token, or nothing if it is time for another.
func (t *tokens) current(refused string) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.token == refused || !t.renewAt.IsZero() && !time.Now().Before(t.renewAt) {
		return ""
	}
	return t.token
}

func (t *tokens) fetch(ctx context.Context) (token string, life time.Duration, err error) {
	secret, err := t.config.ClientSecret.Reveal()
	if err != nil {
		return "", 0, err
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(t.config.Scopes) > 0 {
		form.Set("scope", strings.Join(t.config.Scopes, " "))
	}
	for name, value := range t.config.Params {
		form.Set(name, value)
	}
	if t.config.ClientAuth == "body" {
		form.Set("client_id", t.config.ClientID)
		form.Set("client_secret", secret)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.config.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return "", 0, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if t.config.ClientAuth != "body" { // both are form-encoded first: RFC 6749, section 2.3.1
		req.SetBasicAuth(url.QueryEscape(t.config.ClientID), url.QueryEscape(secret))
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	if resp.Status != http.StatusOK {
		resp.secrets = []string{secret, url.QueryEscape(secret)}
		return "", 0, resp.Err()
	}
	var answer struct {
		AccessToken string      `json:"access_token"`
		TokenType   string      `json:"token_type"`
		ExpiresIn   json.Number `json:"expires_in"`
	}
	if err := json.Unmarshal(resp.Body, &answer); err != nil {
		return "", 0, errors.New("the answer is no JSON object with access_token and expires_in")
	}
	if answer.AccessToken == "" || answer.TokenType != "" && !strings.EqualFold(answer.TokenType, "bearer") {
		return "", 0, fmt.Errorf("the answer holds no bearer token (token_type %q)", answer.TokenType)
	}
	seconds, _ := answer.ExpiresIn.Float64() // absent: it lives until it is refused
	return answer.AccessToken, time.Duration(min(max(seconds, 0), maxTokenLife.Seconds()) * float64(time.Second)), nil
}

// maxTokenLife bounds a stated life, which might overflow.
const maxTokenLife = 365 * 24 * time.Hour

// reveal lists the texts that would give the credentials away.
func (t *tokens) reveal() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return []string{t.token}
}
