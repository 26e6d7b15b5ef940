package event_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/event"
)

func TestLoadLocation(t *testing.T) {
	t.Parallel()
	first, err := event.LoadLocation("America/New_York")
	require.NoError(t, err)
	require.Equal(t, -5*60*60, offset(first))
	again, err := event.LoadLocation("America/New_York")
	require.NoError(t, err)
	require.Same(t, first, again, "it is read once")
	other, err := event.LoadLocation("America//New_York")
	require.NoError(t, err)
	another, err := event.LoadLocation("America//New_York")
	require.NoError(t, err)
	require.NotSame(t, other, another, "what has many spellings is not kept")
	_, err = event.LoadLocation("America/Atlantis")
	require.Error(t, err)
}

func offset(l *time.Location) (seconds int) {
	_, seconds = time.Date(2026, time.January, 1, 0, 0, 0, 0, l).Zone()
	return seconds
}
