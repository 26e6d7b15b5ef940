package kafka

import (
	"fmt"
	"log/slog"
	"sync"

	"github.com/hms-sme/policysync/pkg/delivery"
	"github.com/hms-sme/policysync/pkg/event"
)

// CatchUps opens the catch-up feeds of all targets: per target one client, made when
// the first of its lanes needs it and closed when the last has caught up. Its fetches
// are small, since their bytes count in the memory of a target that is slow anyway.
type CatchUps struct {
	config Config
	log    *slog.Logger

	// mu guards clients, between the lanes of all partitions.
	mu      sync.Mutex
	clients map[string]*catchUpClient
}

type catchUpClient struct {
	*feed

	open int
}

// NewCatchUps returns one that has opened nothing.
func NewCatchUps(c Config, log *slog.Logger) *CatchUps {
	return &CatchUps{config: c, log: log, clients: map[string]*catchUpClient{}}
}

// Open implements [delivery.Feeds].
func (c *CatchUps) Open(target string, from event.Position,
	take func(records []*event.Record, start, end int64) bool, diverge func(cause error),
) (delivery.Feed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	client := c.clients[target]
	if client == nil {
		f, err := newFeed(&c.config, c.log, 256<<10)
		if err != nil {
			return nil, fmt.Errorf("open catch-up feed of target %s: %w", target, err)
		}
		client = &catchUpClient{feed: f}
		c.clients[target] = client
	}
	client.open++
	o := &openFeed{all: c, client: client, target: target, id: partition{from.Topic, from.Partition}}
	o.reader = &reader{topicID: from.TopicID, take: take, diverge: diverge}
	client.add(o.id, o.reader, from.Offset, from.LeaderEpoch)
	return o, nil
}

// openFeed is one lane's part of a client.
type openFeed struct {
	all    *CatchUps
	client *catchUpClient
	target string
	id     partition
	reader *reader
}

// Resume implements [delivery.Feed].
func (o *openFeed) Resume() { o.client.resume(o.id, o.reader) }

// Close implements [delivery.Feed]. It closes the client with its last feed.
func (o *openFeed) Close() {
	o.client.remove([]partition{o.id})
	o.all.mu.Lock()
	o.client.open--
	idle := o.client.open == 0
	if idle {
		delete(o.all.clients, o.target)
	}
	o.all.mu.Unlock()
	if idle {
		o.client.close()
	}
}
