package httpclient

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Signature is an HTTP message signature (RFC 9421) by hmac-sha256 over method, URL,
// the body's Content-Digest (RFC 9530), Content-Type and the headers that say which
// change it is. It is made anew for each attempt.
type Signature struct {
	// KeyID tells the server which secret to verify with.
	KeyID string `yaml:"key_id" required:"true"`
	// Secret is the key, the bytes of the text as they stand.
	Secret connector.Secret `yaml:"secret" required:"true"`
}

// Validate reports what the types of the fields cannot say.
func (s *Signature) Validate() []connector.Mistake {
	if strings.ContainsFunc(s.KeyID, func(c rune) bool { return c < ' ' || c > '~' || c == '"' || c == '\\' }) {
		return []connector.Mistake{{Path: "key_id", Message: fmt.Sprintf(`%q holds something else than ASCII, or " or \`, s.KeyID)}}
	}
	return nil
}

// signed are the headers that a signature covers, where the request has them.
var signed = []string{"content-digest", "content-type", "idempotency-key", "policysync-key", "policysync-version"}

// sign adds the headers Content-Digest, Signature-Input and Signature.
func (s *Signature) sign(req *http.Request, now time.Time) error {
	secret, err := s.Secret.Reveal()
	if err != nil {
		return err
	}
	if req.GetBody != nil {
		body, err := req.GetBody()
		if err != nil {
			return err
		}
		digest := sha256.New()
		if _, err = io.Copy(digest, body); err != nil {
			return err
		}
		req.Header.Set("Content-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(digest.Sum(nil))+":")
	}
	components := []string{"@method", "@target-uri"}
	for _, name := range signed {
		if req.Header.Get(name) != "" {
			components = append(components, name)
		}
	}
	params, signature := signatureOf(req, components, s.KeyID, secret, now)
	req.Header.Set("Signature-Input", "sig1="+params)
	req.Header.Set("Signature", "sig1=:"+signature+":")
	return nil
}

// signatureOf returns the parameters of a signature and its value in base64. The
// algorithm is not among the parameters: the key decides it (RFC 9421, section 3.1).
func signatureOf(req *http.Request, components []string, keyID, secret string, now time.Time) (params, signature string) {
	params = fmt.Sprintf(`("%s");created=%d;keyid="%s"`, strings.Join(components, `" "`), now.Unix(), keyID)
	mac := hmac.New(sha256.New, []byte(secret))
	for _, name := range components {
		value := strings.TrimSpace(req.Header.Get(name))
		switch name {
		case "@method":
			value = req.Method
		case "@authority":
			value = strings.ToLower(req.URL.Host)
		case "@target-uri":
			at := *req.URL
			at.User, at.Path, at.Fragment = nil, cmp.Or(at.Path, "/"), ""
			value = at.String()
		}
		fmt.Fprintf(mac, "\"%s\": %s\n", name, value)
	}
	fmt.Fprintf(mac, `"@signature-params": %s`, params)
	return params, base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
