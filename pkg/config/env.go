package config

import (
	"errors"
	"fmt"
	"strings"
)

// expand replaces ${NAME} and ${NAME:default} in text, and $$ by $. What comes
// from the environment is taken as it is: it is not expanded again.
func expand(text string, env func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(text, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			text = after[1:]
		case strings.HasPrefix(after, "{"):
			inner, rest, closed := strings.Cut(after[1:], "}")
			if !closed {
				return "", errors.New("${ without }: write $${ for the two characters themselves")
			}
			name, fallback, hasFallback := strings.Cut(inner, ":")
			value, ok := env(name)
			switch {
			case !variableName(name):
				return "", fmt.Errorf("%q is no name of an environment variable: write $${ for the two characters themselves", name)
			case !ok && !hasFallback:
				return "", fmt.Errorf("environment variable %q is not set: set it, or give a default as in ${%s:default}", name, name)
			case !ok:
				value = fallback
			}
			b.WriteString(value)
			text = rest
		default:
			b.WriteByte('$')
			text = after
		}
	}
}

func variableName(s string) bool {
	for i, r := range s {
		letter := r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}
