package sql

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hms-sme/policysync/pkg/connector"
)

// explain adds to the permanent failure of one delivery what the database may not
// say: which text is too long for which column. The next attempt compares the
// tables with the config again, so that a column which was changed meanwhile is
// named, and spoils no second policy.
func (c *Connector) explain(ctx context.Context, d *connector.Delivery, err error) error {
	if connector.Classify(err) != connector.Permanent {
		return err
	}
	c.fitted.Store(nil)
	doc, _ := d.Document.(*document)
	if doc == nil {
		return err
	}
	var long []string
	for i, rows := range doc.rows {
		if rows == nil {
			continue
		}
		found, failed := c.tooLong(ctx, doc.tables[i], rows)
		if failed != nil {
			return err // the database is gone: what it said before is what matters
		}
		long = append(long, found...)
	}
	if long == nil {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.Join(long, "; "))
}

func (c *Connector) tooLong(ctx context.Context, t *table, rows []row) ([]string, error) {
	columns, _, args := c.dialect.describe(splitTable(t.name))
	have, err := c.readPairs(ctx, columns, args)
	if err != nil {
		return nil, err
	}
	var found []string
	for i, name := range t.columns {
		at := slices.IndexFunc(have, func(h [2]string) bool { return c.same(h[0], name) })
		if at < 0 {
			continue
		}
		limit := parseType(have[at][1]).length
		for _, r := range rows {
			text, _ := r.values[i].(string)
			if n := utf8.RuneCountInString(text); limit > 0 && n > limit {
				found = append(found, fmt.Sprintf("column %q of table %q is %s, the value has %d characters", name, t.name, have[at][1], n))
			}
		}
	}
	return found, nil
}
