package app

import (
	"github.com/hms-sme/policysync/pkg/config"
	"github.com/hms-sme/policysync/pkg/kafka"
)

// memberPermissions are what Kafka's ACLs must grant to a member.
// docs/kafka-permissions.md lists them, and those of people.
func memberPermissions(cfg *config.Config) []kafka.Permission {
	needed := []kafka.Permission{
		{Operation: "READ"}, // on the group
		{Operation: "READ", Topic: cfg.DeadLetters.Topic},
		{Operation: "WRITE", Topic: cfg.DeadLetters.Topic},
		{Operation: "READ", Topic: cfg.Receipts.Topic},
		{Operation: "WRITE", Topic: cfg.Receipts.Topic},
		{Operation: "READ", Topic: cfg.Control.Topic},
		{Operation: "WRITE", Topic: cfg.Control.Topic},
	}
	for _, topic := range cfg.Kafka.Topics {
		needed = append(needed, kafka.Permission{Operation: "READ", Topic: topic})
	}
	if cfg.Kafka.GroupProtocol == "consumer" {
		needed = append(needed, kafka.Permission{Operation: "DESCRIBE_CONFIGS"})
	}
	return needed
}
