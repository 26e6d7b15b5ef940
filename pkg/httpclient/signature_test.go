package httpclient

import (
	"encoding/base64"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// The vector is that of RFC 9421, appendix B.2.5.
func TestSignatureVector(t *testing.T) {
	t.Parallel()
	key, err := base64.StdEncoding.DecodeString("uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==")
	require.NoError(t, err)
	req, err := http.NewRequest(http.MethodPost, "https://example.com/foo?param=Value&Pet=dog", nil)
	require.NoError(t, err)
	req.Header.Set("Date", "Tue, 20 Apr 2021 02:07:55 GMT")
	req.Header.Set("Content-Type", "application/json")
	params, signature := signatureOf(req, []string{"date", "@authority", "content-type"}, "test-shared-secret", string(key), time.Unix(1618884473, 0))
	require.Equal(t, `("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"`, params)
	require.Equal(t, "pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=", signature)
}

// What a server needs to verify a request reaches it, and covers what it must.
func TestRequestIsSigned(t *testing.T) {
	t.Parallel()
	type seen struct{ body, digest, input, signature, again string }
	got := make(chan seen, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		s := seen{body: string(body), digest: r.Header.Get("Content-Digest"), input: r.Header.Get("Signature-Input"), signature: r.Header.Get("Signature")}
		r.URL.Scheme, r.URL.Host = "http", r.Host
		_, s.again = signatureOf(r, []string{"@method", "@target-uri", "content-digest", "idempotency-key"}, "us", "hush", signedAt(s.input))
		got <- s
	})
	c := newClient(t, Config{Signature: &Signature{KeyID: "us", Secret: connector.NewSecret("hush")}}, Options{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(`{"hello": "world"}`))
	require.NoError(t, err)
	req.Header.Set("Idempotency-Key", "records/0/7")
	_, err = c.Do(req)
	require.NoError(t, err)
	s := <-got
	require.JSONEq(t, `{"hello": "world"}`, s.body)
	require.Equal(t, "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:", s.digest) // of RFC 9530
	require.Regexp(t, `^sig1=\("@method" "@target-uri" "content-digest" "idempotency-key"\);created=\d+;keyid="us"$`, s.input)
	require.Equal(t, "sig1=:"+s.again+":", s.signature)

	require.Len(t, (&Signature{KeyID: `a"b`}).Validate(), 1)
	require.Empty(t, (&Signature{KeyID: "a b"}).Validate())
}

// A user of the URL goes into the header Authorization, so that no server sees it in
// the URL that it verifies.
func TestSignatureLeavesTheUserOut(t *testing.T) {
	t.Parallel()
	var signatures []string
	for _, url := range []string{"https://a.example/x", "https://kate:hush@a.example/x"} {
		req, err := http.NewRequest(http.MethodPost, url, nil)
		require.NoError(t, err)
		_, signature := signatureOf(req, []string{"@target-uri"}, "us", "key", time.Unix(1, 0))
		signatures = append(signatures, signature)
	}
	require.Equal(t, signatures[0], signatures[1])
}

// signedAt reads the time of a signature.
func signedAt(input string) time.Time {
	_, created, _ := strings.Cut(input, "created=")
	created, _, _ = strings.Cut(created, ";")
	d, _ := time.ParseDuration(created + "s")
	return time.Unix(int64(d.Seconds()), 0)
}
