package configs_test

import (
	"errors"
	"flag"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"tilegate/configs"
	"tilegate/internal/tile"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestReport: one file with many faults, and the whole report as an operator sees it.
func TestReport(t *testing.T) {
	_, err := configs.Load("testdata/faulty.yaml", env("DURATION=forever", "TOKEN=a token from the environment"))
	if err == nil {
		t.Fatal("the faulty file is accepted")
	}
	got := err.Error() + "\n"
	const golden = "testdata/faulty.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestLoadOfWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	large := write(t, "large.yaml", strings.Repeat("#", 1<<20+1))
	for _, tc := range []struct{ name, path, want string }{
		{"missing", filepath.Join(dir, "nope.yaml"), "no such file or directory"},
		{"directory", dir, "is not a regular file"},
		{"pipe that nobody writes to", fifo, "is not a regular file"},
		{"too large", large, "is larger than 1MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := configs.Load(tc.path, env())
			if want := "configuration " + tc.path + ": " + tc.want; err == nil || err.Error() != want {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	if _, err := configs.Load(filepath.Join(dir, "nope.yaml"), env()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want fs.ErrNotExist", err)
	}
}

// TestPathsStartAtTheFile: relative paths are found from wherever the process runs.
func TestPathsStartAtTheFile(t *testing.T) {
	path := write(t, "tilegate.yaml", `
server:
  admin_token: {file: sub/admin}
aws:
  role: {arn: "arn:aws:iam::123456789012:role/a", web_identity_token_file: token}
auth:
  signing_keys: [{file: tilegate.key}]
tilesets:
  a: {source: "s3://acme/{z}/{x}/{y}.png"}
  b: {source: "s3://acme/b/{z}/{x}/{y}.png", role: {web_identity_token_file: /run/token}}
`)
	dir := filepath.Dir(path)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"sub/admin": "0123456789abcdef\r\n", "tilegate.key": signingKey} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := configs.Load(path, env())
	if err != nil {
		t.Fatal(err)
	}
	if got := string(c.Server.AdminToken.Bytes()); got != "0123456789abcdef" {
		t.Errorf("admin token: got %q", got)
	}
	if got := len(c.Auth.SigningKeys[0].Bytes()); got != 32 {
		t.Errorf("signing key: got %d bytes, want 32", got)
	}
	for i, want := range []string{filepath.Join(dir, "token"), "/run/token"} {
		if got := c.Tilesets[i].Role.WebIdentityTokenFile; got != want {
			t.Errorf("token file: got %q, want %q", got, want)
		}
	}
}

// TestTilesetsInherit: what a tileset leaves out is cache's and aws.role's, wherever in the file those stand.
func TestTilesetsInherit(t *testing.T) {
	c := parse(t, minimalAuth+`
tilesets:
  zebra:
    source: s3://acme/{z}/{x}/{y}.jpeg
  alpha:
    source: s3://acme/{z}/{x}/{-y}.pbf
    name: Streets
    cache: {stale: 0s}
    role: {arn: "arn:aws:iam::210987654321:role/other", tags: {team: maps}}
  beta:
    source: s3://acme/beta.pmtiles
    role: {arn: ""}
aws:
  role: {arn: "arn:aws:iam::123456789012:role/reader", external_id: "42", duration: 30m, tags: {app: tiles}}
cache: {fresh: 1m, missing_for: 5s}
`)
	type effective struct {
		id, name, format  string
		cache             configs.Freshness
		arn, externalID   string
		duration          time.Duration
		tags              map[string]string
		archive, scalable bool
	}
	var got []effective
	for _, s := range c.Tilesets {
		got = append(got, effective{
			s.ID, s.Name, s.Format, s.Cache, s.Role.ARN, s.Role.ExternalID, s.Role.Duration, s.Role.Tags, s.Source.Archive, s.Source.Scalable(),
		})
	}
	inherited := configs.Freshness{Fresh: time.Minute, Stale: 24 * time.Hour, MissingFor: 5 * time.Second}
	own := inherited
	own.Stale = 0
	app := map[string]string{"app": "tiles"}
	want := []effective{
		{"zebra", "zebra", "jpg", inherited, "arn:aws:iam::123456789012:role/reader", "42", 30 * time.Minute, app, false, false},
		{"alpha", "Streets", "mvt", own, "arn:aws:iam::210987654321:role/other", "42", 30 * time.Minute, map[string]string{"team": "maps"}, false, false},
		{"beta", "beta", "", inherited, "", "42", 30 * time.Minute, app, true, false},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	clear(c.Tilesets[0].Role.Tags)
	if len(c.AWS.Role.Tags) != 1 {
		t.Error("a tileset's tags are the same map as aws.role's")
	}
}

// TestEveryKind reads one value of each kind that a key can have.
func TestEveryKind(t *testing.T) {
	c := parse(t, `
server: {listen: "[::1]:8443", admin_listen: "", public_url: "https://tiles.example.com//", trusted_proxies: [10.0.0.0/8, 2001:db8::1],
  cors: {origins: ["https://*.app.example.com", "http://localhost:3000", "http://[::1]:3000"]}}
logging: {level: warn, access: false}
cache: {memory: 1GiB, max_object: 65536}
auth:
  issuers:
  - issuer: http://127.0.0.1:9999
    audience: [a, b]
    algorithms: [EdDSA]
    jwks_url: https://id.example.com/keys?p=policy
    allow: {tilesets: ["acme-*", "*", "file:*"], zoom: 3-12, bbox: [170, -10.5, -170, 10]}
    grant:
  - issuer: acme
    audience: [a]
    algorithms: [HS512]
    key: {env: HS}
    allow: {tilesets: [basemap]}
  max_lifetime: 0
  verify_header: X-Forwarded-Uri
tilesets:
  basemap:
    source: s3://acme/{z}/{x}/{y}@{scale}x.mvt
    version: 2026-10
    missing: 204
    missing_on_403: false
    browser: no-store
    vector_layers: [{id: roads, fields: {class: String}, maxzoom: 9}]
  open: {source: "s3://acme/{q}.webp", minzoom: 1, browser: "public, max-age=60", public: true}
files: {report-1: {source: s3://acme/a b/report.pdf}}
`, "HS="+strings.Repeat("s", 64))
	nine := uint8(9)
	for _, tc := range []struct {
		name      string
		got, want any
	}{
		{"public_url", c.Server.PublicURL, "https://tiles.example.com"},
		{"admin_listen", c.Server.AdminListen, ""},
		{"trusted_proxies", c.Server.TrustedProxies, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::1/128")}},
		{"level", c.Logging.Level, slog.LevelWarn},
		{"access", c.Logging.Access, false},
		{"memory", c.Cache.Memory, configs.Size(1 << 30)},
		{"max_object", c.Cache.MaxObject, configs.Size(65536)},
		{"allow", *c.Auth.Issuers[0].Allow, configs.Limits{
			Tilesets: []string{"acme-*", "*", "file:*"}, Zoom: &tile.ZoomRange{Min: 3, Max: 12}, BBox: &tile.Box{West: 170, South: -10.5, East: -170, North: 10},
		}},
		{"grant", c.Auth.Issuers[0].Grant, (*configs.Limits)(nil)},
		{"HMAC", []bool{c.Auth.Issuers[0].HMAC(), c.Auth.Issuers[1].HMAC()}, []bool{false, true}},
		{"max_lifetime", c.Auth.MaxLifetime, time.Duration(0)},
		{"version", c.Tilesets[0].Version, "2026-10"},
		{"missing", c.Tilesets[0].Missing, "204"},
		{"missing_on_403", c.Tilesets[0].MissingOn403, "false"},
		{"scalable", c.Tilesets[0].Source.Scalable(), true},
		{"vector_layers", c.Tilesets[0].VectorLayers, []configs.VectorLayer{{ID: "roads", Fields: map[string]string{"class": "String"}, MaxZoom: &nine}}},
		{"files", c.Files[0].ID + " " + c.Files[0].Source.String(), "report-1 s3://acme/a b/report.pdf"},
	} {
		if !reflect.DeepEqual(tc.got, tc.want) {
			t.Errorf("%s: got %v, want %v", tc.name, tc.got, tc.want)
		}
	}
}

// TestWaysIn: each is enough by itself.
func TestWaysIn(t *testing.T) {
	for name, file := range map[string]string{
		"signing key":     minimal,
		"public tilesets": minimalTilesets + "    public: true\n",
		"the edge":        minimalTilesets + "cdn: {edge_authorizes: true, origin_secrets: [{env: S}], tilesets: [basemap]}\n",
	} {
		t.Run(name, func(t *testing.T) { parse(t, file, "S=0123456789abcdef") })
	}
}

func TestSecureCookie(t *testing.T) {
	for _, tc := range []struct {
		server string
		want   bool
	}{
		{"{}", true},
		{"{listen: 'localhost:8080'}", false},
		{"{listen: '127.0.0.9:8080'}", false},
		{"{listen: '[::1]:8080'}", false},
		{"{listen: '[::1]:8080', public_url: 'http://localhost'}", false},
		{"{listen: '[::1]:8080', public_url: 'https://tiles.example.com'}", true},
		{"{listen: '10.0.0.1:8080', public_url: 'http://tiles.example.com'}", true},
	} {
		if got := parse(t, minimal+"server: "+tc.server).SecureCookie(); got != tc.want {
			t.Errorf("%s: got %t, want %t", tc.server, got, tc.want)
		}
	}
}

func TestNotesOfWhatLimitsCannotCount(t *testing.T) {
	const limited = "limits: {distinct_tiles: {1h: 100}}\n"
	vending := strings.Replace(minimal, "    source:", "    vend: true\n    role: {arn: \"arn:aws:iam::123456789012:role/reader\"}\n    source:", 1)
	if vending == minimal {
		t.Fatal("the minimal configuration has no source on a line of its own")
	}
	for text, want := range map[string]string{
		vending + limited: "vend: true",
		minimal + limited + "cdn: {edge_authorizes: true, tilesets: [basemap], origin_secrets: [{env: SECRET}]}\n": "CDN",
		minimal + limited: "",
		vending:           "",
	} {
		var got []string
		for _, n := range parse(t, text, "SECRET=0123456789abcdef0123456789abcdef").Notes {
			if n.Key == "limits.distinct_tiles" {
				got = append(got, n.Text)
			}
		}
		if said := strings.Join(got, "; "); (want == "") != (said == "") || !strings.Contains(said, want) {
			t.Errorf("%s\ngot %q, want %q", text, got, want)
		}
	}
}

// TestNotes: what is valid and still worth telling, with its line.
func TestNotes(t *testing.T) {
	c := parse(t, `server:
  trusted_proxies: [0.0.0.0/0]
aws:
  endpoint: http://127.0.0.1:9000
  role:
    arn: arn:aws:iam::123456789012:role/reader
    duration: 2h
auth:
  issuers: [{issuer: "https://id.example.com", audience: [a], algorithms: [RS256]}]
tilesets:
  basemap:
    source: s3://acme/{z}/{x}/{y}.png
    browser: immutable
    role:
      session_name: basemap
  roads:
    source: s3://acme/roads.pmtiles
`)
	var got []string
	for _, n := range c.Notes {
		got = append(got, strings.TrimSuffix(n.String(), ": "+n.Text))
	}
	want := []string{
		"line 2: server.trusted_proxies[0]", "line 7: aws.role.duration", "line 8: auth.signing_keys",
		"line 13: tilesets.basemap.browser",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if notes := parse(t, minimal).Notes; len(notes) > 0 {
		t.Errorf("a plain file: got %v, want none", notes)
	}
}

// TestNotesOfOrigins: what a pattern allows besides the operator's own pages is told.
func TestNotesOfOrigins(t *testing.T) {
	for origin, want := range map[string]string{
		"https://*.vercel.app": "strangers", "https://myapp-*.vercel.app": "strangers", "https://*.co.uk": "strangers", "http://localhost:*": "development",
		"https://*.example.com": "", "https://myapp-*.example.com": "", "https://myapp.vercel.app": "", "capacitor://localhost": "", "http://localhost:3000": "",
	} {
		notes := parse(t, minimal+"server: {cors: {origins: ['"+origin+"']}}").Notes
		if want == "" && len(notes) == 0 {
			continue
		}
		if want == "" || len(notes) != 1 || notes[0].Key != "server.cors.origins[0]" || !strings.Contains(notes[0].Text, want) {
			t.Errorf("%s: got %v, want %q", origin, notes, want)
		}
	}
}

// TestFaultFromOutside: what only the environment shows stands at its key, or at what that is missing from.
func TestFaultFromOutside(t *testing.T) {
	c := parse(t, "aws:\n  region: ''\n  role: {arn: 'arn:aws:iam::123456789012:role/a', scope_down: true}\n"+minimal)
	for _, tc := range []struct{ name, key, want string }{
		{"written", "aws.role.scope_down", `tilegate.yaml:3:63: aws.role.scope_down "true": problem; hint`},
		{"written without a value", "aws.region", "tilegate.yaml:2:3: aws.region: problem; hint"},
		{"missing", "aws.sts_endpoint", "tilegate.yaml:1:1: aws.sts_endpoint: problem; hint"},
		{"of a tileset", "tilesets.basemap.role.scope_down", "tilegate.yaml:7:3: tilesets.basemap.role.scope_down: problem; hint"},
		{"of nothing in the file", "presign.window", "tilegate.yaml:1:1: presign.window: problem; hint"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := c.Fault(tc.key, "problem", "hint").String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// What tilesets inherit from aws.role is no role for those that name no ARN.
func TestTokenFileForThoseWithAnARN(t *testing.T) {
	c := parse(t, minimal+"    role: {arn: 'arn:aws:iam::123456789012:role/a'}\n"+
		"  plain: {source: 's3://acme/p/{z}/{x}/{y}.png'}\n"+
		"  plainly: {source: 's3://acme/q/{z}/{x}/{y}.png', role: {arn: ''}}\n"+
		"files: {report: {source: s3://acme/a.pdf}}\naws: {role: {web_identity_token_file: t}}\n")
	for i, want := range []string{"arn:aws:iam::123456789012:role/a", "", ""} {
		if got := c.Tilesets[i].Role.ARN; got != want {
			t.Errorf("%s: got %q, want %q", c.Tilesets[i].ID, got, want)
		}
	}
}

// A vector tileset without layers is noted, with where they are looked for.
func TestVectorLayersAreNoted(t *testing.T) {
	for source, want := range map[string]string{
		"{source: 's3://acme/roads/{z}/{x}/{y}.mvt'}":                                          "s3://acme/roads/metadata.json",
		"{source: 's3://acme/{z}/{x}/{y}.mvt'}":                                                "find none in TileJSON",
		"{source: 's3://acme/roads/{z}/{x}/{y}.mvt', vector_layers: [{id: road, fields: {}}]}": "",
		"{source: 's3://acme/roads/{z}/{x}/{y}.png'}":                                          "",
	} {
		var notes []string
		for _, n := range parse(t, minimal+"  roads: "+source).Notes {
			notes = append(notes, n.Key+": "+n.Text)
		}
		if got := strings.Join(notes, "; "); want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.HasPrefix(got, "tilesets.roads.vector_layers: ") {
			t.Errorf("%s: got %q, want %q", source, got, want)
		}
	}
}

// A bundle that lies among a tileset's objects, or holds them, is noted, with what follows.
func TestBundlesAmongTilesAreNoted(t *testing.T) {
	for prefix, want := range map[string]string{
		"s3://acme/tiles/":        "holds objects of tilesets.b",
		"s3://acme/tiles/7/":      "holds objects of tilesets.b",
		"s3://acme/styles/":       "",
		"s3://another/tiles/":     "",
		"s3://acme/tiles-styles/": "",
	} {
		var notes []string
		for _, n := range parse(t, minimalAuth+"tilesets: {b: {source: 's3://acme/tiles/{z}/{x}/{y}.png'}}\nbundles: {c: {source: '"+prefix+"'}}").Notes {
			notes = append(notes, n.Key+": "+n.Text)
		}
		got := strings.Join(notes, "; ")
		if want == "" && got != "" || want != "" && !strings.HasPrefix(got, "bundles.c.source: "+want) {
			t.Errorf("%s: got %q, want %q", prefix, got, want)
		}
	}
}
