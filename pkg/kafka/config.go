// Package kafka is the only package that names a Kafka client: the group member,
// the feeds, the fenced commits of checkpoints, the topics and producers that
// policysync owns. It decides nothing about deliveries: what becomes of a record
// is for package delivery to say.
package kafka

import (
	"context"
	"net"
	"time"

	"github.com/hms-sme/policysync/pkg/connector"
)

// Config is how to reach the cluster and which group to be.
type Config struct {
	// Brokers are the HOST:PORT of one broker or more, to find the others by.
	Brokers []string `yaml:"brokers" required:"true"`
	// Group is the consumer group, and the beginning of the names of its own topics.
	Group string `yaml:"group" required:"true"`
	// Topics are read from.
	Topics []string `yaml:"topics" required:"true"`
	// SessionTimeout is how long the group waits for a silent member before it
	// gives its partitions to another. Heartbeats are sent ten times as often.
	SessionTimeout time.Duration `yaml:"session_timeout" default:"20s" min:"1s"`
	// GroupProtocol is "classic" (cooperative-sticky) or "consumer" (KIP-848).
	GroupProtocol string `yaml:"group_protocol" default:"classic" oneof:"classic consumer"`
	// InstanceID makes the member static (KIP-345): a restart under the same id
	// within the session timeout moves no partition. Empty: dynamic.
	InstanceID string `yaml:"instance_id"`
	// ClientID is how the brokers' logs, quotas and metrics call the process.
	ClientID string         `yaml:"client_id" default:"policysync"`
	TLS      *connector.TLS `yaml:"tls"`
	SASL     *SASL          `yaml:"sasl"`
	// Dial opens the connections, instead of TCP and TLS. Nil: those two.
	Dial func(ctx context.Context, network, address string) (net.Conn, error) `yaml:"-"`
}

// SASL is how to log in.
type SASL struct {
	Mechanism string `yaml:"mechanism" required:"true" oneof:"PLAIN SCRAM-SHA-256 SCRAM-SHA-512 OAUTHBEARER AWS_MSK_IAM"`
	// Username is the user, or AWS_MSK_IAM's access key.
	Username string `yaml:"username"`
	// Password is the password, or AWS_MSK_IAM's secret key.
	Password connector.Secret `yaml:"password"`
	// Token is OAUTHBEARER's, read again at each login.
	Token connector.Secret `yaml:"token"`
}
