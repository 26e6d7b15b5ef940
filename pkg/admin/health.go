package admin

import (
	"fmt"
	"log/slog"
	"net/http"
)

// Health is where /livez, /readyz and /metrics are served.
type Health struct {
	// Listen is HOST:PORT; without a host, on every address. Port 0 takes a free one.
	Listen string `yaml:"listen" default:":8080"`
}

// Checks are the answers. A nil error means yes; another is the body of a 503, so
// it must hold no secret.
type Checks struct {
	// Live tells whether the process makes progress. If it does not, the platform
	// restarts it: an outage of Kafka or of a target is no reason.
	Live func() error
	// Ready tells whether the process does its part.
	Ready func() error
	// Metrics serves the metrics.
	Metrics http.Handler
}

// NewHealth returns a server of /livez, /readyz and /metrics that does not listen yet.
func NewHealth(c Health, checks Checks, log *slog.Logger) *Server {
	mux := http.NewServeMux()
	mux.Handle("GET /livez", answer(checks.Live))
	mux.Handle("GET /readyz", answer(checks.Ready))
	mux.Handle("GET /metrics", checks.Metrics)
	return NewServer("health", c.Listen, nil, mux, log)
}

func answer(check func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		if err := check(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, err)
			return
		}
		fmt.Fprintln(w, "ok")
	})
}
