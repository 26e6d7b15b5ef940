package kafka

import (
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/hms-sme/policysync/pkg/control"
)

const orders = "control"

// What is in the topic is known when following begins, and what comes is told.
func TestFollowControl(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, kfake.SeedTopics(1, orders))
	a := c.admin()
	command := func(target string) {
		t.Helper()
		_, err := a.Command(t.Context(), orders, &control.Pause{Target: target, Paused: true})
		require.NoError(t, err)
	}
	var mu sync.Mutex
	var got []string
	follow := func() *Control {
		t.Helper()
		got = nil
		f, err := FollowControl(t.Context(), c.config(), orders, slog.New(slog.DiscardHandler), func(offset int64, key, _ []byte) {
			mu.Lock()
			defer mu.Unlock()
			got = append(got, fmt.Sprintf("%d %s", offset, key))
		})
		require.NoError(t, err)
		return f
	}
	read := func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), got...)
	}
	f := follow()
	require.Empty(t, read(), "an empty topic is read at once")
	command("a")
	eventually(t, "it is told", func() bool { return len(read()) == 1 })
	f.Close()
	for n := range 300 {
		command(fmt.Sprint(n % 7))
	}
	f = follow()
	defer f.Close()
	require.Len(t, read(), 301, "all is known when following begins")
	command("z")
	eventually(t, "it is told", func() bool { return len(read()) == 302 })
	require.Equal(t, "301 pause/z", read()[301])
}

func TestFollowControlNeedsItsTopic(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	_, err := FollowControl(t.Context(), c.config(), orders, slog.New(slog.DiscardHandler), func(int64, []byte, []byte) {})
	require.ErrorContains(t, err, "read control: there is no such topic")
}
