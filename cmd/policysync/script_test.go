package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
	_ "modernc.org/sqlite" // the driver of the sqlite command

	"github.com/hms-sme/policysync/pkg/event"
	"github.com/hms-sme/policysync/schemas"
)

var update = flag.Bool("update", false, "rewrite what the scripts expect to be printed")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"policysync": main})
}

// The scripts run the command as an operator does, against a broker and a registry
// in memory: $BROKER and $REGISTRY. Beside testscript's own commands they have
//
//	exits CODE COMMAND…   the command ends with that code
//	capture NAME REGEXP   set NAME to what the group of the expression matches in stdout
//	committed N           wait until the group has settled the first N records of policies/0
//	letter OFFSET         $LETTER becomes the id of the letter to ledger of that record of policies/0
//	sqlite FILE SQL…      run statements on a database
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script"),
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setup,
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"exits": exits, "committed": committed, "letter": letter, "capture": capture, "sqlite": sqlite,
		},
	})
}

type brokerKey struct{}

func setup(env *testscript.Env) error {
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "policies"))
	if err != nil {
		return err
	}
	env.Defer(broker.Close)
	registry := srfake.New()
	env.Defer(registry.Close)
	if _, _, err := registry.RegisterSchema("policies-value", sr.Schema{Schema: schemas.PolicyEvent}); err != nil {
		return err
	}
	env.Values[brokerKey{}] = broker
	env.Setenv("BROKER", broker.ListenAddrs()[0])
	env.Setenv("REGISTRY", registry.URL())
	env.Setenv("HOME", env.WorkDir)
	return nil
}

func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func committed(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: committed N")
	}
	want, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	broker := ts.Value(brokerKey{}).(*kfake.Cluster)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = broker.WaitGroupInfo(ctx, "sync", func(g *kfake.GroupInfo) bool {
		return g != nil && g.Commits["policies"][0].Offset >= want
	})
	ts.Check(err)
}

func capture(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: capture NAME REGEXP")
	}
	found := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if len(found) != 2 {
		ts.Fatalf("stdout does not match %s with one group", args[1])
	}
	ts.Setenv(args[0], found[1])
}

func letter(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: letter OFFSET")
	}
	info := ts.Value(brokerKey{}).(*kfake.Cluster).TopicInfo("policies")
	ts.Setenv("LETTER", event.TopicID(info.TopicID).String()+"/0/"+args[0]+"/ledger")
}

func sqlite(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sqlite FILE SQL…")
	}
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()
	for _, statement := range args[1:] {
		_, err := db.Exec(statement)
		ts.Check(err)
	}
}
