//go:build e2e

package connectortest

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Contestant is somebody who writes a batch, and what that has cost.
type Contestant struct {
	Name      string
	Write     func(ds []*connector.Delivery)
	Took, CPU time.Duration
}

// Run writes a batch.
func (c *Contestant) Run(t *testing.T, ds []*connector.Delivery) {
	t.Helper()
	began, before := time.Now(), cpuTime(t)
	c.Write(ds)
	c.Took, c.CPU = c.Took+time.Since(began), c.CPU+cpuTime(t)-before
}

// cpuTime is what this process has had of the processors.
func cpuTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
