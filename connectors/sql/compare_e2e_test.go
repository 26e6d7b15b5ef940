//go:build e2e

package sql

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/event"
)

// Databases give back a key in their own form, padded or without its zeros: it is still
// the same.
func TestE2EComparesKeysAsTheColumnHasThem(t *testing.T) {
	each(t, func(t *testing.T, s server) {
		t.Helper()
		dsn, db := s.fresh(t)
		moment := "timestamptz"
		if s.dialect == (mysql{}) {
			moment = "DATETIME(6)"
		}
		exec(t, db, `CREATE TABLE policies (code CHAR(10), fee NUMERIC(9,2), since `+moment+`, title VARCHAR(20), version BIGINT, PRIMARY KEY (code, fee, since))`)
		c := newConnector(t, Config{DSN: connector.NewSecret(dsn.String()), Tables: []connector.Named[Table]{{Name: "policies", Value: Table{
			Key: []string{"code", "fee", "since"}, VersionColumn: "version", Map: columns(
				"code", path("event.code", event.String), "fee", path("event.fee", ""), "since", path("event.since", ""), "title", path("event.title", event.String),
			),
		}}}})
		t.Cleanup(func() { require.NoError(t, c.Close(t.Context())) })
		d := prepared(t, c, change{key: "a", version: 1, offset: 1, fields: object(
			"code", "DOI-7", "fee", int64(12), "since", time.Date(2026, 11, 24, 8, 0, 0, 500_000_000, time.UTC), "title", "t",
		)})
		_, err := c.Push(t.Context(), d)
		require.NoError(t, err)
		found, err := c.Compare(t.Context(), []*connector.Delivery{d})
		require.NoError(t, err)
		require.Empty(t, found[0].Difference, "%v", found[0].Fields)
		var names []string
		require.NoError(t, c.Names(t.Context(), func(name string) error {
			names = append(names, name)
			return nil
		}))
		require.Equal(t, found[0].Names, names)
	})
}
