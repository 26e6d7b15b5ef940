package config

import "strings"

// Section is the text of the part of the file that a path names, such as
// targets.caseApi, as it stands there: variables are not expanded, and what may be
// secret is left out. It is empty if the file has no such part.
func (c *Config) Section(path string) string {
	at, ok := c.places[path]
	if !ok {
		return ""
	}
	lines := c.source.lines[at.Line-1:]
	end := 1
	for i, line := range lines[1:] {
		text := strings.TrimSpace(line)
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		if indent := len(line) - len(strings.TrimLeft(line, " ")); indent < at.Column {
			break
		}
		end = i + 2
	}
	out := make([]string, end)
	for i := range end {
		shown, rest := c.source.shown(at.Line + i)
		out[i] = strings.TrimPrefix(string(shown)+rest, strings.Repeat(" ", at.Column-1))
	}
	return strings.Join(out, "\n")
}
