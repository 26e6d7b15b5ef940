package httpclient

import (
	"encoding/base64"
	"io"
	"net/http"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// credentials add to a request what it is let in by.
type credentials struct {
	auth      *Auth
	tokens    *tokens    // nil without OAuth2
	signature *Signature // nil if requests are not signed
}

// apply reports whether set would change the request.
func (c *credentials) apply(req *http.Request) bool {
	a := c.auth
	return !a.Bearer.IsZero() || a.Basic != nil || a.APIKey != nil || c.tokens != nil || c.signature != nil || req.URL.User != nil
}

// set adds the credentials to a request of our own. It returns the OAuth2 token
// that it used, which is not the one that the server has refused.
func (c *credentials) set(req *http.Request, refused string) (token string, err error) {
	switch a := c.auth; {
	case !a.Bearer.IsZero():
		bearer, err := a.Bearer.Reveal()
		if err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+bearer)
	case a.Basic != nil:
		password, err := a.Basic.Password.Reveal()
		if err != nil {
			return "", err
		}
		req.SetBasicAuth(a.Basic.Username, password)
	case a.APIKey != nil:
		value, err := a.APIKey.Value.Reveal()
		if err != nil {
			return "", err
		}
		req.Header.Set(a.APIKey.Header, value)
	case c.tokens != nil:
		if token, err = c.tokens.get(req.Context(), refused); err != nil {
			return "", err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case req.URL.User != nil && req.Header.Get("Authorization") == "":
		password, _ := req.URL.User.Password()
		req.SetBasicAuth(req.URL.User.Username(), password)
	}
	if c.signature != nil {
		err = c.signature.sign(req, time.Now())
	}
	return token, err
}

// send sends req with credentials. If the server refuses an OAuth2 token, which it
// may have revoked before its time, another is fetched and the request repeated once.
func (t *roundTripper) send(req *http.Request) (*http.Response, error) {
	token, err := t.credentials.set(req, "")
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close() // which a RoundTripper promises, also on an error
		}
		return nil, err
	}
	resp, err := t.next.RoundTrip(req)
	if err != nil || token == "" || resp.StatusCode != http.StatusUnauthorized || req.Body != nil && req.GetBody == nil {
		return resp, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody))
	_ = resp.Body.Close()
	again := req.Clone(req.Context())
	if _, err = t.credentials.set(again, token); err != nil {
		return nil, err
	}
	if req.Body != nil {
		if again.Body, err = req.GetBody(); err != nil {
			return nil, err
		}
	}
	return t.next.RoundTrip(again)
}

// reveal lists the texts that would give the credentials away.
func (c *credentials) reveal() []string {
	if c == nil {
		return nil
	}
	a := c.auth
	secrets := []connector.Secret{a.Bearer}
	if a.APIKey != nil {
		secrets = append(secrets, a.APIKey.Value)
	}
	if a.Basic != nil {
		secrets = append(secrets, a.Basic.Password)
	}
	if c.signature != nil {
		secrets = append(secrets, c.signature.Secret)
	}
	var texts []string
	if c.tokens != nil {
		texts = c.tokens.reveal()
	}
	for _, secret := range secrets {
		text, err := secret.Reveal()
		if err != nil || text == "" {
			continue
		}
		texts = append(texts, text)
		if a.Basic != nil {
			texts = append(texts, base64.StdEncoding.EncodeToString([]byte(a.Basic.Username+":"+text)))
		}
	}
	return texts
}
