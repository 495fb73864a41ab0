package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"tilegate/configs"
	"tilegate/proxy/origin"
)

type checkCommand struct {
	configFlag
	Online bool `help:"Also connect to STS, S3, the issuers' key sets and Redis."`
}

// onlineTimeout bounds what check --online waits for.
const onlineTimeout = time.Minute

// Run prints every fault of the file with its line, or what the file configures.
func (cmd checkCommand) Run(ctx context.Context, c *console) error {
	config, err := cmd.load(originRule(ctx))
	var faults *configs.Error
	if errors.As(err, &faults) {
		cmd.print(c, faults.Notes)
	}
	if err != nil {
		return err
	}
	cmd.print(c, config.Notes)
	// The parts are made as serve makes them, so that check finds what serve would. They run only with --online.
	s, err := newService(ctx, config, noLog(), extras{})
	if err != nil {
		return describe(err)
	}
	if !cmd.Online {
		_, err := fmt.Fprintf(c.out, "%s: ok, %d tilesets, %d files, %d issuers%s\n", cmd.Config, len(config.Tilesets), len(config.Files), len(config.Auth.Issuers), bundleCount(config))
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, onlineTimeout)
	defer cancel()
	return s.checkOnline(ctx, c.out)
}

// bundleCount is what check adds to its line where there are bundles.
func bundleCount(c *configs.Config) string {
	if len(c.Bundles) == 0 {
		return ""
	}
	return fmt.Sprintf(", %d bundles", len(c.Bundles))
}

func (cmd checkCommand) print(c *console, notes []configs.Note) {
	for _, note := range notes {
		fmt.Fprintf(c.err, "%s:%d: note: %s: %s\n", cmd.Config, note.Line, note.Key, note.Text)
	}
}

// errCheckFailed is the failure of check --online. The table says what failed.
var errCheckFailed = errors.New("not everything works; see the table")

func (s *service) checkOnline(ctx context.Context, out io.Writer) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	go s.origins.Run(running)

	var t table
	t.row("SOURCE", "RESULT", "CREDENTIALS", "UNTIL", "IDENTITY", "READ", "A MISSING KEY")
	reports := s.origins.Check(ctx, s.proxy.Examine)
	s.checkArchives(ctx, reports)
	for _, r := range reports {
		until := "never expire"
		if !r.Expires.IsZero() {
			until = r.Expires.UTC().Format(time.RFC3339)
		}
		if r.Credentials == "" {
			until = ""
		}
		t.row(r.Source, okOrFailed(r.Faults), r.Credentials, until, r.Identity, r.Object, r.Missing)
		t.beneath(r.Faults)
		t.notes(r.Notes)
		t.notes(contradictions(s.config, r))
		t.notes(s.layersFound(ctx, r))
	}
	t.stores(s.origins.CheckStores(ctx, reports))
	sets, err := checkKeySets(ctx, s.config)
	if err != nil {
		return describe(err)
	}
	if len(sets) > 0 {
		t.row()
		t.row("ISSUER", "RESULT")
	}
	for _, set := range sets {
		t.row(set.issuer, okOrFailed(set.faults))
		t.beneath(set.faults)
		t.note(set.ignored)
	}
	checkShared(ctx, s.config, &t)
	if err := t.print(out); err != nil {
		return err
	}
	if t.failed {
		return errCheckFailed
	}
	return nil
}

// table prints rows in columns, and lines beneath them. The lines are not part of the columns, since tabwriter would
// end the columns there.
type table struct {
	rows   []string
	lines  map[int][]string // by the number of rows above
	failed bool             // some of the lines are faults
}

func (t *table) row(cells ...string) { t.rows = append(t.rows, strings.Join(cells, "\t")) }

// beneath adds faults to the latest row.
func (t *table) beneath(faults []string) {
	t.failed = t.failed || len(faults) > 0
	t.note(faults)
}

// notes adds lines that say of themselves that they are no faults.
func (t *table) notes(lines []string) {
	for _, line := range lines {
		t.note([]string{"note: " + line})
	}
}

// note adds lines that are no faults.
func (t *table) note(lines []string) {
	if t.lines == nil {
		t.lines = map[int][]string{}
	}
	t.lines[len(t.rows)] = append(t.lines[len(t.rows)], lines...)
}

// stores prints what each store knows of S3's protocol, and what follows where it does not. That is no fault.
func (t *table) stores(reports []origin.StoreReport) {
	columns := 0
	for _, r := range reports {
		heads, cells := []string{"STORE", "TRIED WITH"}, []string{r.Store, cmp.Or(r.Source, "nothing")}
		var effects []string
		for _, f := range r.Features {
			heads = append(heads, strings.ToUpper(f.Name))
			if f.Works {
				cells = append(cells, "yes")
				continue
			}
			cells = append(cells, "no")
			effects = append(effects, f.Name+": "+f.Effect)
		}
		if len(heads) != columns { // a store that has files alone is tried for less
			columns = len(heads)
			t.row()
			t.row(heads...)
		}
		t.row(cells...)
		t.note(effects)
		if r.Source == "" {
			t.note([]string{"not tested: none of its objects could be read. Fix the faults of its sources above, or upload a tile, and check again"})
		}
	}
}

func (t *table) print(out io.Writer) error {
	var b strings.Builder
	columns := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range t.rows {
		fmt.Fprintln(columns, row)
	}
	if err := columns.Flush(); err != nil {
		return err
	}
	above := 0
	for line := range strings.Lines(b.String()) {
		above++
		for _, beneath := range t.lines[above] {
			line += "    " + beneath + "\n"
		}
		if _, err := io.WriteString(out, line); err != nil {
			return err
		}
	}
	return nil
}

func okOrFailed(faults []string) string {
	if len(faults) > 0 {
		return "FAILED"
	}
	return "ok"
}
