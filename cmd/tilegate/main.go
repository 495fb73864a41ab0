// Command tilegate serves private map tiles out of S3 to those who may see them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/alecthomas/kong"

	"tilegate/configs"
)

func main() {
	signalled, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(signalled, func() {
		stop() // a second signal ends the process, from before the first is acted on
		cancel()
	})
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if _, reported := errors.AsType[reportedError](err); err != nil && !reported {
		printError(os.Stderr, err)
	}
	os.Exit(exitStatus(err))
}

// printError writes why a command failed, in one write.
func printError(w io.Writer, err error) {
	if faults, ok := errors.AsType[*configs.Error](err); ok {
		fmt.Fprintln(w, faults) // each line begins with its file, where editors look for it
		return
	}
	fmt.Fprintln(w, "tilegate: "+err.Error())
}

// commands are what tilegate can do, each in a file of its own.
type commands struct {
	Serve   serveCommand   `cmd:"" help:"Run the server."`
	Demo    demoCommand    `cmd:"" help:"Run everything in one process: a private bucket, a world map, a token issuer, the proxy and a map page."`
	Check   checkCommand   `cmd:"" help:"Report every fault in a configuration file."`
	Token   tokenCommand   `cmd:"" help:"Create an access token, or a path token, with the configured signing key."`
	Key     keyCommand     `cmd:"" help:"Create, list and revoke API keys."`
	Keygen  keygenCommand  `cmd:"" help:"Print a new signing key."`
	Version versionCommand `cmd:"" help:"Print the version."`
	Help    helpCommand    `cmd:"" help:"Show the commands, or the flags of one."`
	Health  healthCommand  `cmd:"" help:"Ask a running server whether it is alive (a container's health check)."`
}

// helpCommand is there to be listed: run turns it into the flag --help.
type helpCommand struct {
	Command []string `arg:"" optional:"" help:"The command."`
}

// Run does nothing.
func (helpCommand) Run() error { return nil }

// console is where a command prints: results to out, everything else to err.
type console struct{ out, err io.Writer }

// errUsage marks errors whose remedy is another command line or configuration; exit status 2.
var errUsage = errors.New("usage")

// usageError carries errUsage without showing it.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error      { return e.error }

// exitStatus is 0 for done, 2 for wrong usage or configuration, 1 for any other failure.
func exitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		return 2
	default:
		return 1
	}
}

// run is the whole program: it parses args, runs one command and returns when that is done or ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var c commands
	helped := false
	parser, err := kong.New(&c,
		kong.Name("tilegate"),
		kong.Description("Private map tiles out of S3, for those who may see them."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(int) { helped = true }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(&console{stdout, stderr}),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return fmt.Errorf("build the command line: %w", err)
	}
	if len(args) > 0 && args[0] == "help" {
		args = append(slices.Clone(args[1:]), "--help")
	}
	command, err := parser.Parse(args)
	if helped {
		return nil
	}
	if err != nil {
		return usageError{fmt.Errorf("%w (see: tilegate --help)", err)}
	}
	return command.Run()
}
