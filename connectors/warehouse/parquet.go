package warehouse

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/hms-sme/policysync/pkg/connector"
)

const parquetScheme = "parquet://"

// parquetFiles keeps the history as Parquet files in a folder of the table's name. A
// file is what one batch has of one partition, and is named after its source: the same
// rows are the same file, whoever writes them. It appears whole, under its name, once
// the disk has it. Its metadata carry the source offsets, as the commit of a table
// format would.
type parquetFiles struct {
	folder string
	table  *table
}

func openParquet(path string, t *table) *parquetFiles {
	return &parquetFiles{folder: filepath.Join(path, t.name), table: t}
}

func (p *parquetFiles) create(context.Context, *table) error {
	if err := os.MkdirAll(p.folder, 0o755); err != nil { //nolint:gosec // others come to read it
		return connector.AsUnavailable(err)
	}
	return nil
}

// evolution has nothing to do: each file has the columns of its time.
func (*parquetFiles) evolution(context.Context, *table, []column) ([]string, error) { return nil, nil }

func (*parquetFiles) exec(context.Context, string) error { return errors.ErrUnsupported }

func (*parquetFiles) query(context.Context, string, []any, func([]any) error) error {
	return connector.ErrNotComparable
}

// columns are the config's own: a folder fits as soon as it is there. No view is.
func (p *parquetFiles) columns(_ context.Context, name string) (map[string]string, error) {
	if name == p.table.latest() {
		return nil, connector.ErrNotComparable
	}
	if _, err := os.ReadDir(p.folder); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, connector.AsUnavailable(err)
	}
	types := make(map[string]string, len(p.table.columns))
	for _, c := range p.table.columns {
		types[c.name] = parquetType(c.typ)
	}
	return types, nil
}

// source is what a file has of one partition. Offsets compare within a topic's id.
type source struct {
	Topic     string `json:"topic"`
	TopicID   string `json:"topic_id"`
	Partition int32  `json:"partition"`
	First     int64  `json:"first_offset"`
	Last      int64  `json:"last_offset"`
	Rows      int    `json:"rows"`
}

// sourceMetadata is the key of a source, as JSON, in the metadata of its file.
const sourceMetadata = "policysync.source"

func (p *parquetFiles) insert(ctx context.Context, t *table, rows [][]any) error {
	at := map[string]int{}
	for i, c := range t.columns {
		at[c.name] = i
	}
	value := func(row []any, column string) parquet.Value {
		v, _ := row[at[column]].(parquet.Value) // fit made it
		return v
	}
	parts := map[source][][]any{}
	for _, row := range rows {
		s := source{
			Topic: value(row, "_topic").String(), TopicID: value(row, "_topic_id").String(), Partition: value(row, "_partition").Int32(),
		}
		parts[s] = append(parts[s], row)
	}
	for s, rows := range parts {
		if err := ctx.Err(); err != nil {
			return connector.AsUnavailable(err)
		}
		slices.SortStableFunc(rows, func(a, b []any) int {
			return cmp.Compare(value(a, "_offset").Int64(), value(b, "_offset").Int64())
		})
		s.First, s.Last, s.Rows = value(rows[0], "_offset").Int64(), value(rows[len(rows)-1], "_offset").Int64(), len(rows)
		identities := sha256.New()
		for _, row := range rows {
			fmt.Fprintf(identities, "%s/%d/%q\n", s.TopicID, value(row, "_offset").Int64(), value(row, "_key").String())
		}
		name := fmt.Sprintf("%s-%d-%d-%d-%x.parquet", s.Topic, s.Partition, s.First, s.Last, identities.Sum(nil)[:8])
		if err := p.write(name, s, rows); err != nil {
			return connector.AsUnavailable(fmt.Errorf("write %s: %w", name, err))
		}
	}
	return nil
}

// write puts a file on the disk, then under its name. What a crash leaves of it has
// another, which begins with a dot.
func (p *parquetFiles) write(name string, s source, rows [][]any) (err error) {
	f, err := os.CreateTemp(p.folder, "."+name+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	err = errors.Join(p.encode(f, s, rows), f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err = os.Rename(f.Name(), filepath.Join(p.folder, name)); err != nil {
		return err
	}
	dir, err := os.Open(p.folder)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (p *parquetFiles) encode(to io.Writer, s source, rows [][]any) error {
	metadata, err := json.Marshal(s)
	if err != nil {
		return err
	}
	group := parquet.Group{}
	for _, c := range p.table.columns {
		group[c.name] = parquetNode(parquetType(c.typ))
		if c.nullable {
			group[c.name] = parquet.Optional(group[c.name])
		}
	}
	schema := parquet.NewSchema(p.table.name, group)
	places := make([]int, len(p.table.columns))
	for i, c := range p.table.columns {
		leaf, ok := schema.Lookup(c.name)
		if !ok {
			return fmt.Errorf("column %q is not in the schema", c.name)
		}
		places[i] = leaf.ColumnIndex
	}
	w := parquet.NewWriter(to, schema, parquet.Compression(&parquet.Zstd),
		parquet.KeyValueMetadata(sourceMetadata, string(metadata)), parquet.CreatedBy("policysync", "", ""))
	row := make(parquet.Row, len(places))
	for _, values := range rows {
		for i, c := range p.table.columns {
			v, _ := values[i].(parquet.Value) // nil is null
			level := 0
			if c.nullable && !v.IsNull() {
				level = 1
			}
			row[places[i]] = v.Level(0, level, places[i])
		}
		if _, err := w.WriteRows([]parquet.Row{row}); err != nil {
			return err
		}
	}
	return w.Close()
}

func (*parquetFiles) close() error { return nil }
