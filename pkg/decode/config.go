package decode

import (
	"github.com/hms-sme/policysync/pkg/connector"
	"github.com/hms-sme/policysync/pkg/httpclient"
)

// Config says where schemas come from and how the bytes of a record name theirs.
type Config struct {
	// Registry and File exclude each other.
	Registry *RegistryConfig `yaml:"registry"`
	// File is the writer's schema where there is no registry. With format
	// single-object it may be a pattern such as schemas/policy_v*.avsc: each record
	// names one of the files by its fingerprint.
	File string `yaml:"file"`
	// Format is how the bytes begin. "confluent": a zero byte and the registry's id
	// of the schema in four. "single-object": two bytes and the schema's fingerprint
	// in eight (Avro 1.12 specification, "Single-object encoding"). "none": the
	// value itself, written with the schema in File.
	Format string `yaml:"format" default:"confluent" oneof:"confluent single-object none"`
	// Reader maps a topic to the file of its reader schema: every event of the topic
	// is projected on it. Without one an event looks as its writer's schema says.
	Reader map[string]string `yaml:"reader"`
}

// RegistryConfig is how to reach a schema registry that speaks Confluent's API.
type RegistryConfig struct {
	URL  string          `yaml:"url" required:"true"`
	Auth httpclient.Auth `yaml:"auth"`
	TLS  connector.TLS   `yaml:"tls"`
}

// Validate reports what the types of the fields cannot say.
func (c *Config) Validate() []connector.Mistake {
	var ms []connector.Mistake
	mistake := func(path, message string) {
		ms = append(ms, connector.Mistake{Path: path, Message: message})
	}
	switch {
	case c.Registry != nil && c.File != "":
		mistake("file", "registry and file exclude each other")
	case c.Format == formatConfluent && c.Registry == nil:
		mistake("registry", "format confluent needs a registry; with a file, format is single-object or none")
	case c.Format != formatConfluent && c.File == "":
		mistake("file", "format "+c.Format+" needs the file of the writer's schema")
	}
	if c.Registry != nil {
		if _, err := httpclient.ParseURL(c.Registry.URL); err != nil {
			mistake("registry.url", err.Error())
		}
	}
	return ms
}
