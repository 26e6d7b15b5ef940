package console

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/hms-sme/policysync/pkg/app"
	"github.com/hms-sme/policysync/pkg/deadletter"
)

// shownLetters is how many letters one answer lists, the newest.
const shownLetters = 200

// letters lists the unresolved dead letters that a filter selects, and counts all.
func (c *Console) letters(r *http.Request) (any, error) {
	f, err := filterOf(r)
	if err != nil {
		return nil, err
	}
	l, err := app.OpenLetters(c.cfg, c.o.Logger)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	answer := struct {
		Count   int                   `json:"count"`
		Letters []*app.LetterDocument `json:"letters"`
		Groups  []*app.LetterCount    `json:"groups"`
		// Problems are records of the topic that can't be read.
		Problems []string `json:"problems,omitempty"`
	}{Letters: []*app.LetterDocument{}}
	groups := app.NewLetterGroups()
	newest := func() {
		slices.SortStableFunc(answer.Letters, func(a, b *app.LetterDocument) int {
			return cmp.Or(b.Written.Compare(a.Written), cmp.Compare(b.ID, a.ID))
		})
		answer.Letters = answer.Letters[:min(len(answer.Letters), shownLetters)]
	}
	problems, err := l.Unresolved(r.Context(), f, func(s *app.StoredLetter) error {
		answer.Count++
		groups.Add(s)
		answer.Letters = append(answer.Letters, s.Document())
		if len(answer.Letters) >= 10*shownLetters {
			newest()
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	newest()
	answer.Groups = groups.Counts()
	for _, p := range problems {
		answer.Problems = append(answer.Problems, p.Error())
	}
	return answer, nil
}

func filterOf(r *http.Request) (*deadletter.Filter, error) {
	q := r.URL.Query()
	f := &deadletter.Filter{Target: q.Get("target"), Class: q.Get("class"), Error: q.Get("error")}
	if q.Has("key") {
		key := q.Get("key")
		f.Key = &key
	}
	if text := q.Get("since"); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return nil, &app.RequestError{Err: errors.New("since: want a duration such as 24h")}
		}
		f.Since = time.Now().Add(-d)
	}
	return f, nil
}

// letter is one letter, with its event and what would be sent of it now.
func (c *Console) letter(r *http.Request) (any, error) {
	l, err := app.OpenLetters(c.cfg, c.o.Logger)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.Show(r.Context(), r.URL.Query().Get("id"), func() (*app.Previewer, error) { return c.preview(r.Context()) })
}
