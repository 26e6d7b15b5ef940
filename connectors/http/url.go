package http

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// fixedOrigin returns the scheme and host of a URL, and whether the config alone
// decides them: such a host is trusted, also a private one. A host is complete
// only at the character after it, or else an expression could lengthen it.
func fixedOrigin(t *connector.Text) (origin string, fixed bool) {
	if len(t.Parts) == 0 || t.Parts[0].Expr != nil {
		return "", false
	}
	literal := t.Parts[0].Literal
	scheme, rest, found := strings.Cut(literal, "://")
	end := strings.IndexAny(rest, `/?#`)
	if end < 0 && t.Constant() {
		end = len(rest)
	}
	if !found || end < 0 {
		return "", false
	}
	return literal[:len(scheme)+len("://")+end], true
}

// faultOf says what is wrong with a URL of the config, as far as can be told
// before there is an event; empty if nothing is.
func faultOf(t *connector.Text) string {
	if t.IsZero() || len(t.Parts) == 0 || t.Parts[0].Expr != nil {
		return ""
	}
	literal := t.Parts[0].Literal
	if !strings.HasPrefix(literal, "http://") && !strings.HasPrefix(literal, "https://") {
		return "want a URL that begins with http://, https:// or an expression"
	}
	if origin, fixed := fixedOrigin(t); fixed && !t.Constant() {
		literal = origin
	} else if !fixed { // an expression has a part in the host
		literal += "0"
	}
	if _, err := parse(literal); err != nil {
		return err.Error()
	}
	return ""
}

// render makes the URL for one delivery. A value of the event can fill in a part
// of the URL but cannot turn it into a call of something else.
func render(t *connector.Text, s connector.Scope) (*url.URL, error) {
	text, err := t.Render(s, escape)
	if err != nil {
		return nil, err
	}
	u, err := parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: refuse the URL: %w", t.Place.Path, err)
	}
	return u, nil
}

func parse(text string) (*url.URL, error) {
	u, err := httpclient.ParseURL(text)
	if err != nil {
		return nil, err
	}
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		if segment == "." || segment == ".." {
			return nil, fmt.Errorf("its path has a segment %q, which leads elsewhere", segment)
		}
	}
	return u, nil
}

// escape makes a value fit for its place in a URL, which what stands before tells.
func escape(before, value string) (string, error) {
	_, rest, found := strings.Cut(before, "://")
	switch {
	case !found: // the event gives the beginning of the URL, scheme and host
		return value, nil
	case strings.ContainsAny(rest, "?#"):
		return url.QueryEscape(value), nil
	case strings.Contains(rest, "/"):
		if value == "" {
			return "", errors.New("an empty text in a path would address something else")
		}
		return url.PathEscape(value), nil
	case strings.ContainsFunc(value, notOfHost):
		return "", fmt.Errorf("%q is no part of a host name", value)
	}
	return value, nil
}

func notOfHost(c rune) bool {
	letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
	return !letter && c != '.' && c != '-' && c != '_'
}
