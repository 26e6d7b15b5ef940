package httpclient

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"unicode"
)

// excerptLength is how many bytes of a body an error quotes: enough for the
// sentence in which an API says what is wrong.
const excerptLength = 200

// describe names a request in an error: its method and its URL, without what may
// be secret in it.
func describe(req *http.Request) string { return req.Method + " " + redactURL(req.URL) }

// redactURL prints a URL without user, password, query and fragment.
func redactURL(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// excerpt quotes the beginning of the body, one line of printable text, without
// the credentials that a server may echo; empty if there is nothing to quote.
func (r *Response) excerpt() string {
	text := strings.ToValidUTF8(string(r.Body), "")
	for _, secret := range append(r.credentials.reveal(), r.secrets...) {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "[secret]")
		}
	}
	text = strings.Join(strings.FieldsFunc(text, func(c rune) bool {
		return unicode.IsSpace(c) || !unicode.IsPrint(c)
	}), " ")
	if text == "" {
		return ""
	}
	if len(text) > excerptLength {
		text = strings.ToValidUTF8(text[:excerptLength], "") + "…"
	}
	return ": " + strconv.Quote(text)
}
