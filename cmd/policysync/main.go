// Command policysync brings every change of a policy to the systems that must
// show it. See `policysync --help`.
package main

import (
	"os"

	"github.com/hms-sme/policysync/connectors"
	"github.com/hms-sme/policysync/pkg/cli"
)

// version is set when a release is built.
var version string

func main() { os.Exit(cli.Main(connectors.Builtin(), version)) }
