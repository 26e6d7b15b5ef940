package kafka

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/aws"
	"github.com/twmb/franz-go/pkg/sasl/oauth"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// RebalanceTimeout is how long the group waits for a member to hand over its
// partitions. A drain must end before it.
const RebalanceTimeout = 60 * time.Second

// HeartbeatInterval is how often a member tells the group that it lives.
func (c *Config) HeartbeatInterval() time.Duration { return c.SessionTimeout / 10 }

// options are what every client of this package is made with.
func (c *Config) options(log *slog.Logger, extra ...kgo.Opt) ([]kgo.Opt, error) {
	open, err := c.dialer()
	if err != nil {
		return nil, err
	}
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID(c.ClientID),
		kgo.WithLogger(logger{log}),
		kgo.Dialer(open),
	}
	if c.SASL != nil {
		opts = append(opts, kgo.SASL(c.SASL.mechanism()))
	}
	return append(opts, extra...), nil
}

// dialPause is what it takes at least to find that a connection can't be opened. kgo asks
// for a producer id again at once then: with a record to send and no broker to reach, it
// would keep a processor busy.
const dialPause = 100 * time.Millisecond

// dialer is how connections are opened.
func (c *Config) dialer() (func(ctx context.Context, network, address string) (net.Conn, error), error) {
	open := c.Dial
	if open == nil {
		plain := &net.Dialer{Timeout: 10 * time.Second}
		open = plain.DialContext
		if c.TLS != nil {
			t, err := c.TLS.Config()
			if err != nil {
				return nil, fmt.Errorf("kafka.tls: %w", err)
			}
			open = (&tls.Dialer{NetDialer: plain, Config: t}).DialContext
		}
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := open(ctx, network, address)
		if err != nil {
			timer := time.NewTimer(dialPause)
			defer timer.Stop()
			select {
			case <-timer.C:
			case <-ctx.Done():
			}
		}
		return conn, err
	}, nil
}

// dial makes a client; kgo connects when the first request needs it.
func (c *Config) dial(log *slog.Logger, extra ...kgo.Opt) (*kgo.Client, error) {
	opts, err := c.options(log, extra...)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("make kafka client: %w", err)
	}
	return client, nil
}

// mechanism reads the secrets at each login, so that a changed file is used.
func (s *SASL) mechanism() sasl.Mechanism {
	switch s.Mechanism {
	case "PLAIN":
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			pass, err := s.Password.Reveal()
			return plain.Auth{User: s.Username, Pass: pass}, err
		})
	case "OAUTHBEARER":
		return oauth.Oauth(func(context.Context) (oauth.Auth, error) {
			token, err := s.Token.Reveal()
			return oauth.Auth{Token: token}, err
		})
	case "AWS_MSK_IAM":
		return aws.ManagedStreamingIAM(func(context.Context) (aws.Auth, error) {
			secret, err := s.Password.Reveal()
			return aws.Auth{AccessKey: s.Username, SecretKey: secret}, err
		})
	}
	login := func(context.Context) (scram.Auth, error) {
		pass, err := s.Password.Reveal()
		return scram.Auth{User: s.Username, Pass: pass}, err
	}
	if s.Mechanism == "SCRAM-SHA-256" {
		return scram.Sha256(login)
	}
	return scram.Sha512(login)
}

// logger passes kgo's warnings on. What kgo calls information is debugging to an
// operator of policysync.
type logger struct{ log *slog.Logger }

func (logger) Level() kgo.LogLevel { return kgo.LogLevelWarn }

func (l logger) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	switch level {
	case kgo.LogLevelError:
		to = slog.LevelError
	case kgo.LogLevelWarn:
		to = slog.LevelWarn
	case kgo.LogLevelNone, kgo.LogLevelInfo, kgo.LogLevelDebug:
	}
	l.log.Log(context.Background(), to, "kafka: "+msg, keyvals...) //nolint:sloglint // the text is kgo's
}
