package origin_test

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

func awsPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/aws.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(page)
}

var fence = regexp.MustCompile("(?s)```json\n(.*?)```")

// iamPolicy has the elements of AWS's grammar that the page uses.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
type iamPolicy struct {
	Version   string
	Statement []struct {
		Sid, Effect                 string
		Principal, Action, Resource any
		Condition                   map[string]map[string]string
	}
}

func TestPoliciesInTheDocumentation(t *testing.T) {
	blocks := fence.FindAllStringSubmatch(awsPage(t), -1)
	if len(blocks) < 10 {
		t.Fatalf("%d JSON blocks", len(blocks))
	}
	for _, block := range blocks {
		var p iamPolicy
		decoder := json.NewDecoder(strings.NewReader(block[1]))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&p); err != nil {
			t.Errorf("%v in\n%s", err, block[1])
			continue
		}
		if p.Version != "2012-10-17" || len(p.Statement) == 0 {
			t.Errorf("no policy:\n%s", block[1])
		}
		for _, s := range p.Statement {
			// A policy of an identity has resources, a trust policy has principals, a bucket's has both.
			if s.Effect != "Allow" && s.Effect != "Deny" || s.Action == nil || s.Resource == nil && s.Principal == nil {
				t.Errorf("statement %+v", s)
			}
		}
	}
}

// The role's policy on the page allows its tiles and its file, and nothing else.
func TestDocumentedRoleReadsItsTilesAlone(t *testing.T) {
	policy := fence.FindStringSubmatch(awsPage(t))[1]
	inBubble(t, func(t *testing.T, w *world) {
		w.Put("acme-private-tiles", "basemap/1/0/1.png", fakeaws.Object{Body: content(1)})
		w.Put("acme-private-tiles", "secret/1/0/1.png", fakeaws.Object{Body: content(2)})
		w.Put("acme-private-docs", "2026/report.pdf", fakeaws.Object{Body: []byte("%PDF")})
		for id, want := range map[string]error{"basemap": nil, "file:report": nil, "secret": tile.ErrDenied} {
			if _, _, err := read(w.origin.Source(id).Fetch(t.Context(), tile101, tile.Condition{})); !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", id, err, want)
			}
		}
		if _, _, err := read(w.origin.Source("basemap").Fetch(t.Context(), absent, tile.Condition{})); !errors.Is(err, tile.ErrMissing) {
			t.Errorf("a missing tile: %v", err)
		}
	}, func(r *fakeaws.Role, o *origin.Options) {
		r.Policy = policy
		file := source("file:report", "acme-private-docs", "2026/report.pdf")
		file.Key = func(tile.Key) string { return "2026/report.pdf" }
		o.Sources = []origin.Source{source("base", "acme-private-tiles", "basemap/"), source("basemap", "acme-private-tiles", "basemap/"), source("secret", "acme-private-tiles", "secret/"), file}
	})
}

var (
	tableRow = regexp.MustCompile("(?m)^\\| (`.*?) \\| (.*) \\|$")
	code     = regexp.MustCompile("`([A-Z][A-Za-z.]+)`")
)

// tilegate gives each code in the page's tables the class of its row, or a hint.
func TestDocumentedErrorsAreTheOnesOfTheLog(t *testing.T) {
	page := awsPage(t)
	_, page, _ = strings.Cut(page, "## What the log says")
	s3Table, stsTable, _ := strings.Cut(page, "is about STS")
	rows := 0
	for _, row := range tableRow.FindAllStringSubmatch(s3Table, -1) {
		class, _, _ := strings.Cut(row[2], " |")
		for _, found := range code.FindAllStringSubmatch(strings.ReplaceAll(row[1], "`AccessDenied` that names", ""), -1) {
			rows++
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				w.Inject(fakeaws.Fault{Op: "GetObject", Status: 500, Code: found[1]})
				_, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
				if log := w.log.String(); err == nil || !strings.Contains(log, "class="+class) || !strings.Contains(err.Error(), found[1]) {
					t.Errorf("%s: want class %s; got %v, logged %s", found[1], class, err, log)
				}
			}, missingOn403(origin.Never))
		}
	}
	for _, row := range tableRow.FindAllStringSubmatch(stsTable, -1) {
		for _, found := range code.FindAllStringSubmatch(row[1], -1) {
			rows++
			inBubble(t, func(t *testing.T, w *world) {
				w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: 400, Code: found[1]})
				w.restart(t)
				pass(time.Second)
				if log := w.log.String(); !strings.Contains(log, "STS: 400 "+found[1]) || !strings.Contains(log, "): ") {
					t.Errorf("%s: no hint in %s", found[1], log)
				}
			})
		}
	}
	if rows < 25 {
		t.Errorf("%d codes in the tables", rows)
	}
}
