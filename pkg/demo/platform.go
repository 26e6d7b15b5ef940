package demo

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/hms-sme/policysync/schemas"
)

// The topics of the demo.
const (
	policyTopic  = "policy-events"
	processTopic = "process-events"
)

// platform is what surrounds policysync in the demo: a broker, a schema registry,
// the scheduling API, and the files of the two databases.
type platform struct {
	broker    *kfake.Cluster
	registry  *srfake.Registry
	scheduler *Scheduler
	server    *http.Server
	api       string // address of the scheduling API
	dir       string
}

func newPlatform(ctx context.Context) (p *platform, err error) {
	p = &platform{scheduler: NewScheduler()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.dir, err = os.MkdirTemp("", "policysync-demo-"); err != nil {
		return p, fmt.Errorf("make a folder: %w", err)
	}
	p.broker, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(4, policyTopic, processTopic))
	if err != nil {
		return p, fmt.Errorf("start the broker: %w", err)
	}
	p.registry = srfake.New()
	for _, s := range []struct{ subject, schema, file string }{
		{policyTopic + "-value", schemas.PolicyEvent, "policy_event.avsc"},
		{processTopic + "-value", schemas.ProcessEventSystemData, ""},
		{processTopic + "-value", schemas.ProcessEvent, "process_event.avsc"},
	} {
		if _, _, err = p.registry.RegisterSchema(s.subject, sr.Schema{Schema: s.schema}); err != nil {
			return p, fmt.Errorf("register schema: %w", err)
		}
		if s.file == "" {
			continue
		}
		if err = os.WriteFile(filepath.Join(p.dir, s.file), []byte(s.schema), 0o600); err != nil {
			return p, fmt.Errorf("write schema: %w", err)
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return p, fmt.Errorf("start the scheduling API: %w", err)
	}
	p.api = "http://" + l.Addr().String()
	p.server = &http.Server{Handler: p.scheduler, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = p.server.Serve(l) }() // ends with an error by design
	return p, nil
}

// config is the demo's config, which an operator may keep and change.
func (p *platform) config(template string) string {
	return strings.NewReplacer(
		"@broker", p.broker.ListenAddrs()[0],
		"@registry", p.registry.URL(),
		"@scheduler", p.api,
		"@dir", p.dir,
	).Replace(template)
}

func (p *platform) close() {
	if p.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = p.server.Shutdown(ctx) // what is cut off was not waited for
	}
	if p.registry != nil {
		p.registry.Close()
	}
	if p.broker != nil {
		p.broker.Close()
	}
	if p.dir != "" {
		_ = os.RemoveAll(p.dir) // a folder for temporary files outlives no reboot
	}
}
