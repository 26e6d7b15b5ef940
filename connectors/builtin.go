// Package connectors lists the connectors of this program. It is the only place
// that knows more than one of them.
package connectors

import (
	"context"

	"github.com/hms-sme/policysync/connectors/caldav"
	"github.com/hms-sme/policysync/connectors/file"
	"github.com/hms-sme/policysync/connectors/http"
	"github.com/hms-sme/policysync/connectors/scheduling"
	"github.com/hms-sme/policysync/connectors/sql"
	"github.com/hms-sme/policysync/connectors/warehouse"
	"github.com/hms-sme/policysync/connectors/webhook"
	"github.com/hms-sme/policysync/pkg/connector"
)

// Builtin returns every kind of connector that a config can name.
func Builtin() connector.Registry {
	return connector.Registry{
		"caldav":     caldav.Kind(),
		"file":       file.Kind(),
		"http":       http.Kind(),
		"scheduling": connector.KindOf(newScheduling),
		"sql":        sql.Kind(),
		"warehouse":  warehouse.Kind(),
		"webhook":    webhook.Kind(),
	}
}

// schedulingConfig is connector http's config with other defaults.
type schedulingConfig struct {
	http.Config `yaml:",inline"`
}

// SetDefaults fills in the body of a rule, and how one is deleted, where that follows
// from the URL; else the config must say.
func (c *schedulingConfig) SetDefaults() {
	if c.Map.IsZero() {
		c.Map = scheduling.Map()
	}
	if rule := scheduling.RuleURL(c.URL); c.Delete == nil && rule != nil {
		c.Delete = &http.Delete{Call: http.Call{URL: rule}}
	}
	c.Config.SetDefaults()
}

func newScheduling(ctx context.Context, c *schedulingConfig, env connector.Env) (connector.Connector, error) {
	return http.New(ctx, &c.Config, env)
}
