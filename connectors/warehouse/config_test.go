package warehouse

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

func TestConfigMistakes(t *testing.T) {
	t.Parallel()
	dsn := connector.NewSecret("clickhouse://localhost:9000/policies")
	for name, c := range map[string]struct {
		cfg  Config
		want []connector.Mistake
	}{
		"the least":                {Config{DSN: dsn}, nil},
		"all":                      {Config{DSN: dsn, Table: "Policies2", Map: recordColumns(), OrderBy: []string{"version"}}, nil},
		"a file that is elsewhere": {Config{DSN: connector.SecretFile("/nonexistent/dsn")}, nil},
		"no scheme": {
			Config{DSN: connector.NewSecret("me:pass@warehouse")},
			[]connector.Mistake{{Path: "dsn", Message: "no scheme: want clickhouse://HOST:9000/DATABASE, duckdb://PATH, parquet://FOLDER or sqlite://PATH"}},
		},
		"unknown scheme": {
			Config{DSN: connector.NewSecret("http://me:pass@warehouse")},
			[]connector.Mistake{{Path: "dsn", Message: `unknown scheme "http": want clickhouse://HOST:9000/DATABASE, duckdb://PATH, parquet://FOLDER or sqlite://PATH`}},
		},
		"names": {
			Config{DSN: dsn, Table: "a.b", OrderBy: []string{"title", "nope"}, Map: &connector.Tree{Fields: []connector.Branch{
				{Name: "_key", Tree: leaf("id", nil)}, {Name: "title", Tree: leaf("title", nil)},
			}}},
			[]connector.Mistake{
				{Path: "table", Message: `"a.b" is no table name: ` + wantIdentifier},
				{Path: "map._key", Message: `"_key" is no column name: ` + wantIdentifier},
				{Path: "order_by", Message: `"nope" is no column of the map: _key, title`},
			},
		},
		"no columns": {
			Config{DSN: dsn, Map: leaf("title", nil)},
			[]connector.Mistake{{Path: "map", Message: "want a column name before each expression"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, cmp.Diff(c.want, c.cfg.Validate()))
		})
	}
}

func TestSnake(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"dataWarehouse": "data_warehouse", "dwh2East": "dwh2_east", "partner-east": "partner_east", "2nd": "t_2nd", "é": "t__",
		"HTTP": "http",
	} {
		require.Equal(t, want, snake(name), name)
	}
}
