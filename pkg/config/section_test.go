package config

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/connectors"
)

const sections = `kafka: {brokers: ["b:1"], group: g, topics: [policies]}
schemas: {registry: {url: "http://localhost:8081"}}
targets:
  ledger: {connector: file, path: "${DIR:x}"}
  # The case system of the agency.
  caseApi:
    connector: http
    url: https://case.example/{key}

    auth:
      bearer:
        s3cret
    # next to it
    delete: ignore
  db: {connector: sql, dsn: "postgres://u:s3cret@db/x", tables: {policies: {key: [id], map: {id: key}}}}
redact: [event.payload.name]
`

// An operator sees what stands in the file, and no secret of it.
func TestSection(t *testing.T) {
	t.Parallel()
	c, err := LoadBytes("c.yaml", []byte(sections), connectors.Builtin())
	require.NoError(t, err)
	for path, want := range map[string]string{
		"targets.ledger": `ledger: {connector: file, path: "${DIR:x}"}`,
		"targets.caseApi": "caseApi:\n  connector: http\n  url: https://case.example/{key}\n\n  auth:\n    bearer:\n      …\n" +
			"  # next to it\n  delete: ignore",
		"targets.db":   `db: {connector: sql, dsn: "…`,
		"targets.none": "",
	} {
		require.Equal(t, want, c.Section(path), path)
	}
}
