package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Permission is one operation that a principal is allowed, as Kafka's ACLs name it, on a
// topic or on the group.
type Permission struct {
	// Operation is READ, WRITE, …; each but CREATE includes DESCRIBE.
	Operation string
	// Topic is empty if the permission is about the group.
	Topic string
}

func (p Permission) String() string {
	if p.Topic == "" {
		return p.Operation + " on the group"
	}
	return p.Operation + " on topic " + p.Topic
}

// Denied returns those of the given permissions that this process lacks, as the cluster
// says (KIP-430). A cluster that does not say, and what does not exist yet, denies nothing.
func (a *Admin) Denied(ctx context.Context, needed []Permission) ([]Permission, error) {
	allowed, err := a.allowedOnTopics(ctx, needed)
	if err != nil {
		return nil, err
	}
	if allowed[""], err = a.allowedOnGroup(ctx); err != nil {
		return nil, err
	}
	var denied []Permission
	for _, p := range needed {
		if ops, known := allowed[p.Topic]; known && ops != nil && !slices.Contains(ops, p.Operation) {
			denied = append(denied, p)
		}
	}
	return denied, nil
}

// allowedOnTopics asks by itself, since kadm fails as a whole for one topic that may not
// be described. The operations are nil if the cluster does not tell.
func (a *Admin) allowedOnTopics(ctx context.Context, needed []Permission) (map[string][]string, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, p := range needed {
		if p.Topic != "" {
			topic := kmsg.NewMetadataRequestTopic()
			topic.Topic = &p.Topic
			req.Topics = append(req.Topics, topic)
		}
	}
	resp, err := req.RequestWith(ctx, a.client)
	if err != nil {
		return nil, fmt.Errorf("ask what is allowed on topics: %w", err)
	}
	allowed := map[string][]string{}
	for _, t := range resp.Topics {
		switch t.ErrorCode {
		case 0:
			allowed[*t.Topic] = operations(kadm.DecodeACLOperations(t.AuthorizedOperations))
		case kerr.TopicAuthorizationFailed.Code:
			allowed[*t.Topic] = []string{}
		}
	}
	return allowed, nil
}

func (a *Admin) allowedOnGroup(ctx context.Context) ([]string, error) {
	req := kmsg.NewPtrDescribeGroupsRequest()
	req.Groups, req.IncludeAuthorizedOperations = []string{a.config.Group}, true
	resp, err := req.RequestWith(ctx, a.client)
	switch {
	case errors.Is(err, kerr.GroupAuthorizationFailed):
		return []string{}, nil
	case err != nil:
		return nil, fmt.Errorf("ask what is allowed on the group: %w", err)
	case len(resp.Groups) == 1 && resp.Groups[0].ErrorCode == 0:
		return operations(kadm.DecodeACLOperations(resp.Groups[0].AuthorizedOperations)), nil
	}
	return nil, nil // no such group yet, or one of the other protocol
}

func operations(ops []kmsg.ACLOperation) (names []string) {
	for _, op := range ops {
		names = append(names, op.String())
	}
	return names
}
