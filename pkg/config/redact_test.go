package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/schemas"
)

const redacting = `kafka: {brokers: ["b:1"], group: g, topics: [policies, more]}
schemas: {registry: {url: "http://localhost:8081"}}
targets: {t: {connector: file, path: x}}
redact:
  - event.payload.rules.text
  - event.payload.nam
`

// A path that leads nowhere would redact nothing, so it is a mistake as soon as that
// can be told.
func TestRedactedFieldsExist(t *testing.T) {
	t.Parallel()
	c, err := LoadBytes("c.yaml", []byte(redacting), connectors.Builtin())
	require.NoError(t, err)
	known, err := event.ParseSchema(schemas.PolicyEvent)
	require.NoError(t, err)
	byTopic := map[string][]*event.Schema{"policies": {known}}
	require.NoError(t, c.Compile(byTopic), "the other topic's schema may have it")
	byTopic["more"] = byTopic["policies"]
	require.ErrorContains(t, c.Compile(byTopic),
		`c.yaml:6:5: redact[1]: no schema has the field "nam" of event.payload.nam: did you mean "name"?`)

	_, err = LoadBytes("c.yaml", []byte(strings.Replace(redacting, "event.payload.nam", "payload.name", 1)), connectors.Builtin())
	require.ErrorContains(t, err, `c.yaml:6:5: redact[1]: "payload.name" is no path to a field: want event.FIELD`)
}
