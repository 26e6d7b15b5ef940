// Command bench measures policysync as a whole, on a real Kafka: beside what one would
// use instead (peers), with a target that is down (isolation, outage), new (backfill) or replayed (replay),
// as its work grows (growth), and when it is killed (crash). Everybody gets the same events from the same Kafka for the same server,
// one after the other in one run. The make targets named bench-… run it;
// docs/performance.md says what was seen.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	args := os.Args[1:]
	switch {
	case len(args) == 1 && args[0] == "sink":
		exit(serveSink())
	case len(args) == 2 && args[0] != "-suite":
		exit(runClient(context.Background(), args[0], args[1]))
	}
	b := &bench{topics: map[events]*publisher{}}
	suite := flag.String("suite", "peers", "what to measure: "+strings.Join(slices.Sorted(maps.Keys(suites)), ", "))
	flag.StringVar(&b.policysync, "policysync", "bin/policysync", "the binary to measure")
	flag.StringVar(&b.benthos, "benthos", "", "the binary of Benthos; empty leaves it out")
	flag.StringVar(&b.parallelConsumer, "parallel-consumer", "", "the directory with Parallel Consumer's jars; without them it is left out")
	flag.StringVar(&b.kafka, "kafka", os.Getenv("POLICYSYNC_E2E_KAFKA"), "the broker")
	flag.StringVar(&b.registry, "registry", os.Getenv("POLICYSYNC_E2E_REGISTRY"), "the schema registry")
	flag.Float64Var(&b.size, "size", 1, "times as many events as usual, of which it measures times as long")
	flag.StringVar(&b.only, "only", "", "of the series of outage, those with this in their name")
	flag.StringVar(&b.out, "out", "bench/results", "the directory to write to")
	flag.Parse()
	exit(b.run(context.Background(), *suite))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// runClient is a contender of this program, in a process of its own.
func runClient(ctx context.Context, name, file string) error {
	text, err := os.ReadFile(file) //nolint:gosec // written by this program
	if err != nil {
		return err
	}
	w := &work{}
	if err := json.Unmarshal(text, w); err != nil {
		return err
	}
	if name == "bare" {
		return runBare(ctx, w)
	}
	return runLoop(ctx, w)
}

// suites are what can be measured.
var suites = map[string]func(*bench, context.Context) error{
	"peers": (*bench).peers, "backfill": (*bench).backfill, "isolation": (*bench).isolation, "outage": (*bench).outage, "growth": (*bench).growth,
	"replay": (*bench).replay, "crash": (*bench).crash,
}

type bench struct {
	policysync, benthos, parallelConsumer string
	kafka, registry                       string
	size                                  float64
	only                                  string
	out, dir                              string
	sink                                  *server
	topics                                map[events]*publisher // that are filled
	runs                                  int
}

func (b *bench) run(ctx context.Context, suite string) (err error) {
	if b.kafka == "" || b.registry == "" {
		return errors.New("no servers: run it by its make target")
	}
	if suites[suite] == nil {
		return fmt.Errorf("no suite %q", suite)
	}
	if b.dir, err = os.MkdirTemp("", "policysync-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if b.sink, err = startSink(ctx); err != nil {
		return err
	}
	defer b.sink.stop()
	return suites[suite](b, ctx)
}

// sized is a number of events that the flag -size makes larger or smaller, a multiple
// of 10,000.
func (b *bench) sized(n int) int { return max(1, int(float64(n)*b.size/10_000)) * 10_000 }

// length is how long a measurement lasts at most, from its first event.
func (b *bench) length() time.Duration {
	return max(time.Second, time.Duration(float64(10*time.Second)*min(b.size, 6)))
}
