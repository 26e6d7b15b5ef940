// Command policysync is policysync with one connector more.
package main

import (
	"os"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/examples/connector/folder"
	"github.com/hms-sme/policysync/pkg/cli"
)

func main() {
	registry := connectors.Builtin()
	registry["folder"] = folder.Kind()
	os.Exit(cli.Main(registry, ""))
}
