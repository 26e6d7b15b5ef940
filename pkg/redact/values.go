package redact

import (
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/hms-sme/policysync/pkg/event"
)

// shortest is how many bytes a value must have: shorter ones stand in any text, and
// to cover them would leave nothing to read.
const shortest = 3

// shortestCut is how many bytes of a value must stand before the place where a text
// was cut off, so that they are taken for its beginning.
const shortestCut = 6

// form is one way in which a value may be written, with ASCII letters in lower case.
type form string

// values are the forms of all sensitive values; true for a number, which is found
// only where no longer number holds it.
type values map[form]bool

// collect adds what is sensitive in v: all of it, or what its types or the paths
// say. There are several types only where a union has them: a value does not tell
// its branch, so each that may be it has its say.
func (vs values) collect(v any, types []*event.Type, paths [][]string, all bool) {
	all = all || slices.ContainsFunc(paths, func(p []string) bool { return len(p) == 0 })
	types = branches(types)
	switch v := v.(type) {
	case nil, bool:
	case *event.Object:
		for i, name := range v.Names {
			below, sensitive := fieldTypes(types, name)
			vs.collect(v.Values[i], below, step(paths, name), all || sensitive)
		}
	case map[string]any:
		for key, item := range v {
			if all {
				vs.add(key, false)
			}
			vs.collect(item, itemTypes(types), step(paths, key), all)
		}
	case []any:
		for _, item := range v {
			vs.collect(item, itemTypes(types), paths, all)
		}
	default:
		if text, err := event.Text(v); all && err == nil {
			vs.add(text, number(v))
		}
	}
}

func number(v any) bool {
	switch v.(type) {
	case int64, float64, event.Decimal:
		return true
	}
	return false
}

// add adds the forms in which errors write a text: as it is, in JSON, as Go and SQL
// quote it, in a URL.
func (vs values) add(text string, whole bool) {
	if len(text) < shortest {
		return
	}
	quoted := strconv.Quote(text)
	ascii := strconv.QuoteToASCII(text)
	forms := []string{
		text, quoted[1 : len(quoted)-1], ascii[1 : len(ascii)-1], strings.ReplaceAll(text, "'", "''"),
		url.PathEscape(text), url.QueryEscape(text),
	}
	if js, err := json.Marshal(text); err == nil {
		inner := string(js[1 : len(js)-1])
		again := strconv.Quote(inner) // an answer's JSON, quoted in an error
		forms = append(forms, inner, again[1:len(again)-1])
	}
	for _, f := range forms {
		folded := form(fold(f))
		number, known := vs[folded]
		vs[folded] = whole && (number || !known)
	}
}

// find adds the places of the folded text that show the value, or its beginning
// where the text was cut off.
func (f form) find(spans []span, text string, ends []int, whole bool) []span {
	value := string(f)
	for from := 0; ; {
		i := strings.Index(text[from:], value)
		if i < 0 {
			break
		}
		at := span{from + i, from + i + len(value)}
		if !whole || !digitAt(text, at.from-1) && !digitAt(text, at.to) {
			spans = append(spans, at)
		}
		from = at.from + 1
	}
	for _, end := range ends {
		for n := min(len(value)-1, end); n >= shortestCut; n-- {
			if strings.HasSuffix(text[:end], value[:n]) {
				spans = append(spans, span{end - n, end})
				break
			}
		}
	}
	return spans
}

// cut is where a text was cut off, beside its end.
var cut = regexp.MustCompile(`…|\.\.\.`)

// cuts are the places where a text may have been cut off.
func cuts(text string) []int {
	ends := []int{len(text)}
	for _, at := range cut.FindAllStringIndex(text, -1) {
		ends = append(ends, at[0])
	}
	return ends
}

func digitAt(text string, i int) bool {
	return i >= 0 && i < len(text) && text[i] >= '0' && text[i] <= '9'
}

// fold writes ASCII letters in lower case, which keeps every byte in its place: a
// target may answer with a value in another case than it got.
func fold(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}
