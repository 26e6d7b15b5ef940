package app

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// LetterGroups counts dead letters by target, class and error.
type LetterGroups struct{ counts map[letterGroup]*LetterCount }

type letterGroup struct{ target, class, err string }

// LetterCount is how many dead letters are alike.
type LetterCount struct {
	Target string    `json:"target,omitempty"`
	Class  string    `json:"class"`
	Error  string    `json:"error"`
	Count  int       `json:"count"`
	First  time.Time `json:"first"`
	Last   time.Time `json:"last"`
}

// maxGroups bounds the groups; an error that quotes a value would else make one each.
const maxGroups = 1000

const otherErrors = "(other errors)"

// NewLetterGroups returns one that has counted nothing.
func NewLetterGroups() *LetterGroups { return &LetterGroups{map[letterGroup]*LetterCount{}} }

// Add counts a letter.
func (g *LetterGroups) Add(l *StoredLetter) {
	key := letterGroup{l.Target, l.Class, l.Error}
	if g.counts[key] == nil && len(g.counts) >= maxGroups {
		key.err = otherErrors
	}
	n := g.counts[key]
	if n == nil {
		n = &LetterCount{Target: key.target, Class: key.class, Error: key.err, First: l.Written.UTC(), Last: l.Written.UTC()}
		g.counts[key] = n
	}
	n.Count++
	if l.Written.Before(n.First) {
		n.First = l.Written.UTC()
	}
	if l.Written.After(n.Last) {
		n.Last = l.Written.UTC()
	}
}

// Counts returns the groups, the largest first.
func (g *LetterGroups) Counts() []*LetterCount {
	counts := slices.AppendSeq([]*LetterCount{}, maps.Values(g.counts))
	slices.SortFunc(counts, func(a, b *LetterCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Target, b.Target), cmp.Compare(a.Class, b.Class), cmp.Compare(a.Error, b.Error))
	})
	return counts
}
