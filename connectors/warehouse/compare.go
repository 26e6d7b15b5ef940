package warehouse

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shopspring/decimal"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Compare implements [connector.Comparer] with what the view of the newest versions
// says.
func (w *Warehouse) Compare(ctx context.Context, ds []*connector.Delivery) ([]connector.Comparison, error) {
	ctx, cancel := w.attempt(ctx)
	defer cancel()
	s, err := w.openToRead(ctx)
	if err != nil {
		return nil, err
	}
	held, err := await(ctx, w, func() (map[string][]any, error) { return w.read(ctx, s, ds) })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", w.table.latest(), err)
	}
	all := make([]connector.Comparison, len(ds))
	for i, d := range ds {
		row, there := held[d.Key]
		all[i].Names = []string{d.Key}
		if d.Op == connector.Delete {
			if there {
				all[i].Difference = connector.Extra
			}
			continue
		}
		if !there {
			all[i].Difference = connector.Missing
			continue
		}
		want, err := s.fit(w.table, d.Document, time.Unix(0, 0)) // it is not compared, but has to fit its column
		if err != nil {
			return nil, fmt.Errorf("policy %q: %w", d.Key, err)
		}
		all[i].Difference, all[i].Fields = w.table.compare(s.types, want, row)
	}
	return all, nil
}

// openToRead is open, but changes nothing. The session has no types if there is no table
// yet, and an empty one for a column that the view lacks, where the first delivery would
// mend that.
func (w *Warehouse) openToRead(ctx context.Context) (*session, error) {
	dsn, err := w.cfg.DSN.Reveal()
	if err != nil {
		return nil, connector.AsUnavailable(err)
	}
	if err := w.turn(ctx); err != nil {
		return nil, err
	}
	defer func() { <-w.opening }()
	return w.openWith(ctx, dsn, w.readable)
}

func (w *Warehouse) readable(ctx context.Context, e engine) ([]string, error) {
	view, err := e.columns(ctx, w.table.latest())
	if err != nil {
		return nil, err
	}
	if err := w.check(ctx, e); err != nil {
		return nil, err
	}
	held, err := e.columns(ctx, w.table.name)
	switch {
	case err != nil || len(held) == 0:
		return nil, err
	case len(view) == 0:
		return nil, connector.AsUnavailable(fmt.Errorf("no view %q", w.table.latest()))
	}
	types, _ := w.table.types(held)
	for i, c := range w.table.columns {
		if _, there := view[c.name]; !there {
			types[i] = ""
		}
	}
	return types, nil
}

// read returns the newest rows of the deliveries' keys.
func (w *Warehouse) read(ctx context.Context, s *session, ds []*connector.Delivery) (map[string][]any, error) {
	held := map[string][]any{}
	if s.types == nil {
		return held, nil
	}
	var columns []int
	var names []string
	for i, c := range w.table.columns {
		if s.types[i] != "" {
			columns, names = append(columns, i), append(names, c.name)
		}
	}
	for part := range slices.Chunk(ds, 5000) {
		args := make([]any, len(part))
		for i, d := range part {
			args[i] = d.Key
		}
		query := "SELECT " + quote(names...) + " FROM " + quote(w.table.latest()) +
			" WHERE _key IN (?" + strings.Repeat(", ?", len(part)-1) + ")"
		err := s.engine.query(ctx, query, args, func(row []any) error {
			whole := make([]any, len(w.table.columns))
			for i, column := range columns {
				whole[column] = row[i]
			}
			held[plain(row[0], "")] = whole
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return held, nil
}

// Names implements [connector.Comparer]: a name is a key.
func (w *Warehouse) Names(ctx context.Context, each func(name string) error) error {
	ctx, cancel := w.attempt(ctx)
	defer cancel()
	s, err := w.openToRead(ctx)
	if err != nil || s.types == nil {
		return err
	}
	_, err = await(ctx, w, func() (struct{}, error) {
		return struct{}{}, s.engine.query(ctx, "SELECT _key FROM "+quote(w.table.latest()), nil, func(row []any) error {
			return each(plain(row[0], ""))
		})
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", w.table.latest(), err)
	}
	return nil
}

// ownColumns are the columns before the mapped ones.
const ownColumns = 9

// compare compares the row that a delivery would insert with one that is there.
func (t *table) compare(types []string, want, have []any) (connector.Difference, []connector.FieldDifference) {
	value := func(row []any, column string) any { return row[slices.Index(t.names, column)] }
	text := func(row []any, column string) string { return plain(value(row, column), "") }
	order := func(column string) int {
		a, _ := strconv.ParseInt(text(have, column), 10, 64)
		b, _ := strconv.ParseInt(text(want, column), 10, 64)
		return int(min(1, max(-1, a-b)))
	}
	versioned := !isNull(value(want, "_version")) && !isNull(value(have, "_version"))
	sameSource := text(want, "_topic_id") == text(have, "_topic_id") && text(want, "_partition") == text(have, "_partition")
	place := 0
	if versioned {
		place = order("_version")
	} else if sameSource {
		place = order("_offset")
	}
	switch {
	case place < 0:
		return connector.Stale, nil
	case place > 0:
		return connector.Newer, nil
	}
	var fields []connector.FieldDifference
	for i := ownColumns; i < len(t.names); i++ {
		a, b := plain(want[i], types[i]), plain(have[i], types[i])
		if isNull(want[i]) != isNull(have[i]) || a != b {
			fields = append(fields, connector.FieldDifference{Field: t.names[i], Want: a, Have: b})
		}
	}
	if fields != nil {
		return connector.Different, fields
	}
	return "", nil
}

// isNull reports whether a value of the driver is null.
func isNull(v any) bool { return !pointed(v).IsValid() }

// pointed is what v points to if it is a pointer; not valid for null.
func pointed(v any) reflect.Value {
	r := reflect.ValueOf(v)
	for r.Kind() == reflect.Pointer {
		r = r.Elem()
	}
	return r
}

// plain is a value of the driver as text that is the same for what a column of the
// type holds as one value, and for null that of the text "null".
func plain(v any, columnType string) string {
	r := pointed(v)
	if !r.IsValid() {
		return "null"
	}
	switch v := r.Interface().(type) {
	case bool:
		if v {
			return "1"
		}
		return "0"
	case []byte:
		return string(v)
	case decimal.Decimal:
		return v.String()
	case event.Decimal:
		return v.String()
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		name, params := bareType(columnType)
		switch {
		case name == "Date" || name == "Date32":
			return v.Format(time.DateOnly) // the driver's are midnight in the server's zone
		case name == "DateTime":
			v = v.Truncate(time.Second)
		case len(params) > 0 && params[0] < "9":
			v = v.Truncate(time.Microsecond)
		}
		return v.UTC().Format(time.RFC3339Nano)
	}
	printed := fmt.Sprint(r.Interface())
	if strings.HasPrefix(columnType, "DECIMAL(") {
		if d, err := decimal.NewFromString(printed); err == nil {
			return d.String() // without zeros at the end
		}
	}
	return printed
}
