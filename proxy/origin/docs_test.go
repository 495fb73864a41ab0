package origin_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
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

// The page's rows and lines about messages without a code of their own: tilegate gives each the class of its row, and the
// hint says what the page says.
func TestDocumentedMessagesAreTheOnesOfTheLog(t *testing.T) {
	page := awsPage(t)
	for _, tc := range []struct {
		line          string // of the page
		status        int
		code, message string
		location      string
		want          error
		says          string // on the page and in the hint
	}{
		{"| any code, with a message about KMS | denied", 403, "AccessDenied", "The ciphertext refers to a customer master key that you may not use", "", tile.ErrDenied, "kms:Decrypt"},
		{"| any code, with a message about a customer's key (SSE-C) | bad_answer", 400, "InvalidRequest", "The object was stored using a form of Server Side Encryption.", "", tile.ErrBadAnswer, "copy"},
		{"| any code, with a message about Requester Pays | denied", 403, "AccessDenied", "This is a requester pays bucket", "", tile.ErrDenied, "request_payer: true"},
		{"| a redirect without a region | bad_answer", 302, "", "", "https://console.example.com/login?secret", tile.ErrBadAnswer, "aws.endpoint"},
		{"| status 407 | unreachable", 407, "", "", "", tile.ErrUnreachable, "HTTPS_PROXY"},
	} {
		tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
			if tc.location != "" {
				w.Header().Set("Location", tc.location)
			}
			w.WriteHeader(tc.status)
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", tc.code, tc.message)
		})
		_, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v", tc.line, err)
		}
		_, row, found := strings.Cut(page, tc.line)
		if row, _, _ = strings.Cut(row, "\n"); !found || !strings.Contains(row, tc.says) && tc.says != "kms:Decrypt" {
			t.Errorf("the page has no such row: %s", tc.line)
		}
	}
	for _, says := range []string{"AWS_CA_BUNDLE", "aws.path_style: true", "proxyconnect", "aws sso login", "credential_process", "hop limit", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "anonymous: true", "AWS_SESSION_TOKEN", "objects that cannot be served", "an object cannot be served"} {
		if !strings.Contains(page, says) {
			t.Errorf("the page does not mention %s", says)
		}
	}
}

// The page about services lists what check --online tries.
func TestDocumentedFeaturesAreTheOnesOfCheck(t *testing.T) {
	page, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, nil)
	for _, f := range w.origin.CheckStores(t.Context(), w.origin.Check(t.Context(), nil))[0].Features {
		if row := "| " + strings.ToUpper(f.Name) + " | "; !strings.Contains(strings.ReplaceAll(string(page), "`", ""), row+f.Effect) {
			t.Errorf("the page has no row %s%s", row, f.Effect)
		}
	}
}
