package admin

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Role is what somebody may do.
type Role string

// The roles. A viewer looks at everything, an operator changes things too.
const (
	Viewer   Role = "viewer"
	Operator Role = "operator"
)

// User is who a request comes from. The zero User is somebody who has not logged in
// and may see nothing.
type User struct {
	// Name is empty for somebody who need not log in.
	Name string `json:"name,omitempty"`
	Role Role   `json:"role,omitempty"`
	// By is how they are known: "token", "proxy", or "" if they need not be.
	By string `json:"by,omitempty"`
}

type userKey struct{}

// UserOf returns who a request comes from, whose context this is.
func UserOf(ctx context.Context) User {
	u, _ := ctx.Value(userKey{}).(User)
	return u
}

// sessionTime is how long a login in a browser lasts.
const sessionTime = 12 * time.Hour

// user finds out who sends a request. Wrong reports credentials that are none.
func (a *Access) user(r *http.Request) (u User, wrong bool) {
	if a.config.Open() {
		return User{Role: Viewer}, false
	}
	if u, ok := a.proxied(r); ok {
		return u, false
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		u, _, ok := a.byToken(token)
		return u, !ok
	}
	if c, err := r.Cookie(cookieName); err == nil {
		return a.bySession(c.Value), false
	}
	return User{}, false
}

// proxied is whom the proxy names. A header that comes twice, because the proxy does not
// take away what a client sends, names nobody.
func (a *Access) proxied(r *http.Request) (User, bool) {
	p := a.config.Proxy
	if p == nil || !a.trusted(peer(r)) {
		return User{}, false
	}
	names, groups := r.Header.Values(p.UserHeader), r.Header.Values(p.GroupsHeader)
	if len(names) != 1 || names[0] == "" || len(groups) > 1 {
		return User{}, false
	}
	u := User{Name: names[0], By: "proxy"}
	isIn := func(granted []string) bool {
		if slices.Contains(granted, "*") {
			return true
		}
		for _, line := range groups {
			for group := range strings.SplitSeq(line, ",") {
				if slices.Contains(granted, strings.TrimSpace(group)) {
					return true
				}
			}
		}
		return false
	}
	switch {
	case isIn(p.Operators):
		u.Role = Operator
	case isIn(p.Viewers):
		u.Role = Viewer
	}
	return u, true
}

// byToken is whose token it is. All are compared, each in constant time.
func (a *Access) byToken(token string) (u User, secret string, ok bool) {
	given := sha256.Sum256([]byte(token))
	for _, t := range a.config.Tokens {
		if want, known := a.reveal(t.Name); known {
			if sum := sha256.Sum256([]byte(want)); hmac.Equal(sum[:], given[:]) {
				u, secret, ok = User{Name: t.Name, Role: Role(t.Value.Role), By: "token"}, want, true
			}
		}
	}
	return u, secret, ok
}

// reveal is the present token of a name. One that can't be read, or is too short, lets
// nobody in.
func (a *Access) reveal(name string) (string, bool) {
	for _, t := range a.config.Tokens {
		if t.Name == name {
			token, err := t.Value.Token.Reveal()
			if err == nil && len(token) < MinToken {
				err = fmt.Errorf("shorter than %d bytes", MinToken)
			}
			if err != nil {
				a.log.Error("token lets nobody in", "name", name, "err", err)
			}
			return token, err == nil
		}
	}
	return "", false
}

// session is what the cookie of a login holds: name, end, and a proof of both by the
// token. So it works at every member, and ends when the token is changed.
func session(name, token string, end time.Time) string {
	text := base64.RawURLEncoding.EncodeToString([]byte(name)) + "." + strconv.FormatInt(end.Unix(), 10)
	proof := hmac.New(sha256.New, []byte(token))
	_, _ = proof.Write([]byte("policysync session\x00" + text)) // never fails
	return text + "." + base64.RawURLEncoding.EncodeToString(proof.Sum(nil))
}

func (a *Access) bySession(text string) User {
	parts := strings.Split(text, ".")
	if len(parts) != 3 {
		return User{}
	}
	name, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil {
		return User{}
	}
	unix, err := strconv.ParseInt(parts[1], 10, 64)
	end := time.Unix(unix, 0)
	if err != nil || !a.now().Before(end) {
		return User{}
	}
	for _, t := range a.config.Tokens {
		if t.Name != string(name) {
			continue
		}
		token, known := a.reveal(t.Name)
		if known && hmac.Equal([]byte(session(t.Name, token, end)), []byte(text)) {
			return User{Name: t.Name, Role: Role(t.Value.Role), By: "token"}
		}
	}
	return User{}
}
