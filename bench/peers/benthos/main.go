// Command benthos is Benthos 4.27, the common ancestor of Redpanda Connect and
// Bento, with the components that the benchmark needs. It is a module of its own, so
// that nothing of it is a dependency of policysync.
package main

import (
	"context"

	_ "github.com/benthosdev/benthos/v4/public/components/confluent"
	_ "github.com/benthosdev/benthos/v4/public/components/io"
	_ "github.com/benthosdev/benthos/v4/public/components/kafka"
	_ "github.com/benthosdev/benthos/v4/public/components/pure"
	"github.com/benthosdev/benthos/v4/public/service"
)

func main() { service.RunCLI(context.Background()) }
