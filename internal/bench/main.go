// Command bench measures tilegate against the goals of docs/performance.md: each row is a ratio, or a
// difference, between things that ran side by side in this one run, because machines differ and are
// shared. The server under test has one core (taskset, GOMAXPROCS=1), the load and the origin another.
//
//	make bench                        # all rows
//	go run ./internal/bench hit miss  # some
//	go run ./internal/bench -rounds 3 attack [NAME...]  # good clients beside attacks
//	go run ./internal/bench soak -minutes 5             # everything at once, with the race detector
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// benches are the parts of the run, in order.
var benches = []struct {
	name string
	run  func(context.Context, *lab) error
}{
	{"hit", benchHit},
	{"real", benchReal},
	{"tls", benchTLS},
	{"latency", benchLatency},
	{"miss", benchMiss},
	{"firstbyte", benchFirstByte},
	{"herd", benchHerd},
	{"archivehit", benchArchiveHit},
	{"archive", benchArchive},
	{"scan", benchScan},
	{"slow", benchSlowReaders},
	{"fleet", benchFleet},
}

// commands are runs of their own, besides the parts of the usual one.
var commands = map[string]func(context.Context, *lab, []string) error{"attack": attackCommand, "soak": soakCommand}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && servers[args[0]] != nil {
		return servers[args[0]](ctx, args[1:])
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	rounds := flags.Int("rounds", 5, "alternating rounds; the median counts")
	length := flags.Duration("length", 3*time.Second, "of one round")
	if err := flags.Parse(args); err != nil {
		return err
	}
	command := commands[flags.Arg(0)]
	tools := []string{"taskset", "chrt", "wrk"}
	if command != nil {
		tools = tools[:2]
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("%s is missing: apt-get install wrk util-linux", tool)
		}
	}
	dir, err := os.MkdirTemp("", "tilegate-bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l := &lab{dir: dir, rounds: *rounds, length: *length}
	if l.tilegate, err = build(ctx, dir, "tilegate", "./cmd/tilegate"); err != nil {
		return err
	}
	if l.self, err = build(ctx, dir, "bench", "./internal/bench"); err != nil {
		return err
	}
	if err := l.makeKeys(); err != nil {
		return err
	}
	if command != nil {
		err := command(ctx, l, flags.Args()[1:])
		l.print()
		return err
	}
	var failures []error
	for _, b := range benches {
		if flags.NArg() > 0 && !slices.Contains(flags.Args(), b.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s …\n", b.name)
		if err := b.run(ctx, l); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", b.name, err))
		}
	}
	l.print()
	return errors.Join(failures...)
}

func build(ctx context.Context, dir, name, pkg string) (string, error) {
	path := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, pkg) //nolint:gosec // our own packages
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

// lab is what every bench works with, and the table that they fill.
type lab struct {
	dir, tilegate, self string
	rounds              int
	length              time.Duration
	token, hmacToken    string
	rows                []row
}

type row struct{ what, measured, goal, verdict string }

// record adds a row; ok tells whether the goal is met.
func (l *lab) record(what, measured, goal string, ok bool) {
	verdict := "holds"
	if !ok {
		verdict = "MISSED"
	}
	l.rows = append(l.rows, row{what, measured, goal, verdict})
}

// note adds a row without a goal.
func (l *lab) note(what, measured string) {
	l.rows = append(l.rows, row{what: what, measured: measured})
}

func (l *lab) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, r := range l.rows {
		fmt.Fprintln(w, strings.TrimRight(strings.Join([]string{r.what, r.measured, r.goal, r.verdict}, "\t"), "\t"))
	}
	if err := w.Flush(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func median[T cmp.Ordered](values []T) T {
	values = slices.Sorted(slices.Values(values))
	return values[len(values)/2]
}
