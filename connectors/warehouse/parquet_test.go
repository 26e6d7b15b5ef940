package warehouse

import (
	"encoding/json"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/connector/connectortest"
	"github.com/hms-sme/policysync/pkg/event"
)

// parquetRow is what the suite's rows have of interest.
type parquetRow struct {
	Key       string  `parquet:"_key"`
	Deleted   bool    `parquet:"_deleted"`
	Partition int32   `parquet:"_partition"`
	Offset    int64   `parquet:"_offset"`
	Ingested  int64   `parquet:"_ingested_at"`
	Title     *string `parquet:"title,optional"`
	Version   *int64  `parquet:"version,optional"`
}

// parquetRows reads the files of a folder by their names.
func parquetRows(t require.TestingT, folder string) map[string][]parquetRow {
	files, err := filepath.Glob(filepath.Join(folder, "*.parquet"))
	require.NoError(t, err)
	all := map[string][]parquetRow{}
	for _, file := range files {
		rows, err := parquet.ReadFile[parquetRow](file)
		require.NoError(t, err)
		all[filepath.Base(file)] = rows
	}
	return all
}

// live folds the rows of one log: of each key the highest offset, if it is no delete.
func live(files map[string][]parquetRow) map[string]connectortest.Record {
	tips := map[string]parquetRow{}
	for _, rows := range files {
		for _, r := range rows {
			if tip, ok := tips[r.Key]; !ok || r.Offset > tip.Offset || r.Offset == tip.Offset && r.Ingested > tip.Ingested {
				tips[r.Key] = r
			}
		}
	}
	held := map[string]connectortest.Record{}
	for key, r := range tips {
		if !r.Deleted {
			held[key] = connectortest.Record{Title: *r.Title, Version: *r.Version}
		}
	}
	return held
}

func TestParquetConformance(t *testing.T) {
	connectortest.Run(t, connectortest.Harness{New: func(t *testing.T) connectortest.System {
		dir := t.TempDir()
		folder := filepath.Join(dir, "data_warehouse")
		w := newWarehouse(t, &Config{DSN: connector.NewSecret("parquet://" + dir), Map: recordColumns(), Schema: schemaCreate})
		return connectortest.System{
			Connector: w,
			Applied:   func(t *testing.T) map[string]connectortest.Record { return live(parquetRows(t, folder)) },
			Fail: map[connector.Class]func(*testing.T) func(){
				connector.Unavailable: func(t *testing.T) func() {
					_ = os.Rename(folder, folder+" away") // not there yet
					require.NoError(t, os.WriteFile(folder, nil, 0o600))
					return func() {
						require.NoError(t, os.Remove(folder))
						_ = os.Rename(folder+" away", folder)
					}
				},
			},
		}
	}})
}

// A file is named after its source and says it: a batch that comes back is the same
// file, one of other rows another.
func TestParquetFilesAreNamedAfterTheirSource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	w := closeAfter(t, newWarehouse(t, &Config{DSN: connector.NewSecret("parquet://" + dir), Map: recordColumns(), Schema: schemaCreate}))
	push := func(title string, offsets ...int64) map[string][]parquetRow {
		var ds []*connector.Delivery
		for _, offset := range offsets {
			for partition := range int32(2) {
				d := upsert(&event.Object{Names: []string{"title", "version"}, Values: []any{title, offset}})
				d.Event.Partition, d.Event.Offset = partition, offset
				require.NoError(t, w.Prepare(d))
				ds = append(ds, d)
			}
		}
		for _, r := range w.PushBatch(t.Context(), ds) {
			require.NoError(t, r.Err)
		}
		return parquetRows(t, filepath.Join(dir, "data_warehouse"))
	}
	require.Len(t, push("before", 7, 9), 2, "a file per partition")
	files := push("mended", 9, 7)
	require.Len(t, files, 2, "the same rows are the same file")
	for name, rows := range files {
		require.Regexp(t, `^policies-[01]-7-9-[0-9a-f]{16}\.parquet$`, name)
		require.Len(t, rows, 2)
		require.Equal(t, "mended", *rows[0].Title)
		f, err := os.Open(filepath.Join(dir, "data_warehouse", name))
		require.NoError(t, err)
		defer f.Close()
		info, err := f.Stat()
		require.NoError(t, err)
		file, err := parquet.OpenFile(f, info.Size())
		require.NoError(t, err)
		metadata, ok := file.Lookup(sourceMetadata)
		require.True(t, ok)
		var s source
		require.NoError(t, json.Unmarshal([]byte(metadata), &s))
		require.Equal(t, source{"policies", event.TopicID{15: 1}.String(), rows[0].Partition, 7, 9, 2}, s)
	}
	require.Len(t, push("between", 7, 8, 9), 4, "other rows are another file")
	left, err := filepath.Glob(filepath.Join(dir, "data_warehouse", ".*"))
	require.NoError(t, err)
	require.Empty(t, left, "no file is left half written")
}

func TestParquetFit(t *testing.T) {
	t.Parallel()
	money := &event.Type{Kind: event.Bytes, Logical: event.LogicalDecimal, Precision: 9, Scale: 2}
	for _, c := range []struct {
		typ  *event.Type
		v    any
		want string // as Parquet's value prints, or the error
	}{
		{&event.Type{Kind: event.Int}, int64(1) << 31, "write as INT32: 2147483648 is out of range"},
		{&event.Type{Kind: event.Long}, "7", "write as INT64: a value of type string does not fit"},
		{&event.Type{Kind: event.Float}, 1e300, "write as FLOAT: 1e+300 is out of range"},
		{&event.Type{Kind: event.Int, Logical: event.LogicalDate}, event.Date(-1), "-1"},
		{&event.Type{Kind: event.Long, Logical: event.LogicalTimestampMillis}, time.UnixMicro(1_790_000_000_000_001), "1790000000000001"},
		{
			&event.Type{Kind: event.Long, Logical: event.LogicalTimestampNanos}, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
			"write as TIMESTAMP(NANOS, UTC): 9999-12-31T00:00:00Z is out of range",
		},
		{money, event.Decimal{Unscaled: big.NewInt(-1230), Scale: 2}, "\xff\xff\xfb\x32"},
		{money, event.Decimal{Unscaled: big.NewInt(5), Scale: 0}, "\x00\x00\x01\xf4"},
		{money, event.Decimal{Unscaled: big.NewInt(12345), Scale: 3}, "write as DECIMAL(9, 2): 12.345 is out of range"},
		{&event.Type{Kind: event.Array}, []any{int64(1), "two"}, `[1,"two"]`},
		{nil, "Weekend Inspections", "Weekend Inspections"},
	} {
		v, err := fitterOf((*parquetFiles)(nil), parquetType(c.typ))(c.v)
		if err != nil {
			require.EqualError(t, err, c.want)
			continue
		}
		got := v.(parquet.Value)
		text := got.String()
		if strings.HasPrefix(parquetType(c.typ), "DECIMAL") {
			text = string(got.ByteArray())
		}
		require.Equal(t, c.want, text, "%v", c.v)
	}
}
