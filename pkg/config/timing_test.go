package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/kafka"
)

// With KIP-848 the session is Kafka's, and config's own says nothing.
func TestCheckTiming(t *testing.T) {
	t.Parallel()
	c := loadText(t, `kafka: {brokers: [b], group: g, topics: [policies], session_timeout: 14s, group_protocol: consumer}
schemas: {registry: {url: "http://registry"}}
drain_timeout: 25s
targets:
  hook: {connector: hook, url: http://x, timeout: 19s}
`)
	require.NoError(t, c.CheckTiming(kafka.Timing{Session: 45 * time.Second, Heartbeat: 5 * time.Second}))
	err := c.CheckTiming(kafka.Timing{Session: 25 * time.Second, Heartbeat: 3 * time.Second})
	require.ErrorContains(t, err, "test.yaml:5:42: targets.hook.timeout: 19s and two heartbeat intervals")
	require.ErrorContains(t, err, "test.yaml:3:1: drain_timeout: 25s is not less than the group's session timeout, 25s")
}

// Who shortens the session need not know of the drain.
func TestDrainFitsTheSession(t *testing.T) {
	t.Parallel()
	const rest = `schemas: {registry: {url: "http://registry"}}
targets:
  hook: {connector: hook, url: http://x, timeout: 1s}
`
	c := loadText(t, "kafka: {brokers: [b], group: g, topics: [policies], session_timeout: 6s}\n"+rest)
	require.Equal(t, 4500*time.Millisecond, c.DrainTimeout)
	c = loadText(t, "kafka: {brokers: [b], group: g, topics: [policies], group_protocol: consumer}\n"+rest)
	require.Equal(t, 15*time.Second, c.DrainTimeout)
	require.NoError(t, c.CheckTiming(kafka.Timing{Session: 8 * time.Second, Heartbeat: time.Second}))
	require.Equal(t, 6*time.Second, c.DrainTimeout)
}
