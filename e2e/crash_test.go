//go:build e2e

package e2e

import (
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hms-sme/policysync/pkg/demo"
)

// longestCommit is an upper bound of how long a commit of the member took, by the
// buckets of its own histogram.
func longestCommit(t *testing.T, health string) time.Duration {
	t.Helper()
	resp, err := http.Get("http://" + health + "/metrics")
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	bounds, counts := []float64{}, []string{}
	for _, m := range regexp.MustCompile(`policysync_commit_duration_seconds_bucket\{.*outcome="success",.*le="(.*?)"\} (\d+)`).FindAllStringSubmatch(string(text), -1) {
		bound, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		bounds, counts = append(bounds, bound), append(counts, m[2])
	}
	require.NotEmpty(t, bounds)
	longest := math.Inf(1)
	for i := len(bounds) - 1; i >= 0 && counts[i] == counts[len(counts)-1]; i-- {
		longest = bounds[i]
	}
	require.NotZero(t, longest)
	require.False(t, math.IsInf(longest, 1))
	return time.Duration(longest * float64(time.Second))
}

// A member is killed while a third target is down. The two healthy ones are sent again
// at most what was in flight, what checkpoint.every lets settle before a commit begins,
// and what settles while one is under way. They don't wait for the third one's backlog;
// when it is back it gets all, once and in order.
func TestKillDuringAnOutage(t *testing.T) {
	const policies, versions, concurrency, every = 500, 20, 8, 250
	w := newWorld(t, 1)
	w.patient()
	first, firstURL := answering(t)
	second, secondURL := answering(t)
	third, thirdURL := answering(t)
	third.Answer(func(*http.Request) (int, string) { return http.StatusServiceUnavailable, "" })
	target := func(name, url string) string {
		return "  " + name + ": {connector: scheduling, url: \"" + url + "/v1/rules\", timeout: 10s, concurrency: " + strconv.Itoa(concurrency) +
			", breaker: {open_for: 500ms, open_max: 2s}}\n"
	}
	w.configure(target("first", firstURL) + target("second", secondURL) + target("third", thirdURL))
	w.publish(policies, 1, versions)
	const all = policies * versions
	healthy := func() int { return first.Arrivals().Applied + second.Arrivals().Applied }

	health := freePort(t)
	m := w.start("INSTANCE=a", "HEALTH="+health)
	w.eventually("it is under way", time.Minute, func() bool { return healthy() > all/10 })
	before, since := healthy(), time.Now()
	w.eventually("half has arrived", time.Minute, func() bool { return healthy() > all })
	rate := float64(healthy()-before) / time.Since(since).Seconds()
	trip := longestCommit(t, health)
	m.kill()
	require.Less(t, healthy(), 2*all-1000, "there is something left to push")

	w.start("INSTANCE=a", "HEALTH="+health)
	restarted := time.Now()
	w.eventually("the healthy targets have all", time.Minute, func() bool { return healthy() == 2*all })
	t.Logf("%s after the kill the healthy targets had the rest, with %d events waiting for the third",
		time.Since(restarted).Round(10*time.Millisecond), all-third.Arrivals().Applied)
	w.publish(policies, versions+1, versions+1)
	w.eventually("they get what is new", time.Minute, func() bool { return healthy() == 2*(all+policies) })
	require.Zero(t, third.Arrivals().Applied)

	repeats := first.Arrivals().Repeated + second.Arrivals().Repeated
	meanwhile, stalled := int(rate*trip.Seconds()), int(2*rate)
	t.Logf("%d repeats: at most %d were in flight, checkpoint.every is %d, %d settled during one commit (%.0f/s, %s)",
		repeats, 2*concurrency, every, meanwhile, rate, trip)
	// A commit that begins late, since another was under way, begins with what settled during that.
	// The one that the kill cut off is not among those measured: the broker may have held it up for 2 s.
	require.LessOrEqual(t, repeats, 2*concurrency+max(every, meanwhile)+meanwhile+stalled)

	third.Answer(nil)
	w.eventually("the third has caught up", time.Minute, func() bool { return third.Arrivals().Applied == all+policies })
	t.Logf("repeats at each target, the one that was down last: %d, %d, %d",
		first.Arrivals().Repeated, second.Arrivals().Repeated, third.Arrivals().Repeated)
	require.Zero(t, third.Arrivals().Repeated)
	for _, s := range []*demo.Scheduler{first, second, third} {
		require.Zero(t, s.Arrivals().OutOfOrder)
	}
	require.Empty(t, w.letters())
}

// A member that is killed and back at once, as a new one, has the group wait until the
// session of the old one is over. The other member commits all the while: a crash of it
// would repeat no more than any other.
func TestCommitsGoOnWhileTheGroupWaits(t *testing.T) {
	const policies, session = 100, 40 * time.Second
	w := newWorld(t, 2)
	w.session = session
	w.configure("  api: {connector: scheduling, url: \"@api/v1/rules\", timeout: 2s}\n")
	a := w.start()
	w.eventually("the first has all", time.Minute, func() bool { return a.assigned() == 2 })
	b := w.start()
	w.eventually("the second has its share", time.Minute, func() bool { return b.assigned() == 1 })
	waits := func() bool {
		groups, err := w.adm.DescribeGroups(t.Context(), w.topic)
		require.NoError(t, err)
		return groups[w.topic].State == "PreparingRebalance"
	}
	b.kill()
	w.start()
	w.eventually("the group waits", time.Minute, waits)
	since := time.Now()
	for version := 1; time.Since(since) < session/4; version++ { // two heartbeats
		w.publish(policies, version, version)
		ends, err := w.adm.ListEndOffsets(t.Context(), w.topic)
		require.NoError(t, err)
		w.eventually("what the first has is committed", session/2, func() bool {
			commits, err := w.adm.FetchOffsets(t.Context(), w.topic)
			require.NoError(t, err)
			for p, end := range ends[w.topic] {
				if commits[w.topic][p].At == end.Offset {
					return true
				}
			}
			return false
		})
	}
	require.True(t, waits(), "the machine is too slow to tell")
}
