package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"tilegate/configs"
	"tilegate/proxy/origin"
)

// What the configuration lacks for S3 and STS is reported like any other fault of it, unless AWS's variables or shared
// files have it. The first line begins with the file's name, where editors look for it.
func TestFaultsOfAWSHaveTheirPlace(t *testing.T) {
	long := strings.Repeat("prefix/", 100)
	many := ""
	for i := range 9 {
		many += fmt.Sprintf("  t%d: {public: true, source: \"s3://tiles/%d%s{z}/{x}/{y}.png\"}\n", i, i, long[:300])
	}
	const (
		tilesets = "tilesets:\n  a: {public: true, source: \"s3://tiles/{z}/{x}/{y}.png\"}\n"
		role     = "role: {arn: \"arn:aws:iam::123456789012:role/tiles-reader\"}"
		other    = "role: {arn: \"arn:aws:iam::123456789012:role/another\", scope_down: true}"
		region   = "AWS_REGION=us-east-1"
		endpoint = "AWS_ENDPOINT_URL_S3=http://127.0.0.1:1"
	)
	shared := writeFile(t, "config", "[default]\nregion = us-east-1\n[profile tiles]\nregion = us-east-1\n")
	for _, test := range []struct {
		name, config string
		env          []string
		want         string // behind the file's name; "" for no fault
	}{
		{"no region", "aws: {}\n" + tilesets, nil, ":1:1: aws.region: is not set, nor is AWS_REGION"},
		{"an empty region", "# a comment\naws:\n  path_style: false\n  region: \"\"\n" + tilesets, nil, ":4:3: aws.region: is not set"},
		{"no region in the profile", tilesets, []string{"AWS_CONFIG_FILE=" + writeFile(t, "config", "[default]\noutput = json\n")}, ":1:1: aws.region: is not set"},
		{"its own region", "aws: {region: us-east-1}\n" + tilesets, nil, ""},
		{"AWS_REGION", tilesets, []string{region}, ""},
		{"AWS_DEFAULT_REGION", tilesets, []string{"AWS_DEFAULT_REGION=us-east-1"}, ""},
		{"the default profile's region", tilesets, []string{"AWS_CONFIG_FILE=" + shared}, ""},
		{"another profile's region", tilesets, []string{"AWS_CONFIG_FILE=" + shared, "AWS_PROFILE=tiles"}, ""},
		{"another service's region", "aws: {endpoint: \"http://127.0.0.1:1\"}\n" + tilesets, nil, ""},
		{"another service's region by variable", tilesets, []string{endpoint}, ""},

		{"role without sts_endpoint", "aws:\n  endpoint: http://127.0.0.1:1\n  " + role + "\n" + tilesets, nil, ":1:1: aws.sts_endpoint: is required"},
		{"tileset's role without sts_endpoint", "aws: {endpoint: \"http://127.0.0.1:1\"}\ntilesets:\n  a: {public: true, source: \"s3://tiles/{z}/{x}/{y}.png\", " + role + "}\n", nil, ":1:1: aws.sts_endpoint: is required"},
		{"role and endpoint by variable", "aws:\n  " + role + "\n" + tilesets, []string{endpoint}, ":1:1: aws.sts_endpoint: is required"},
		{"role with sts_endpoint", "aws: {endpoint: \"http://127.0.0.1:1\", sts_endpoint: \"http://127.0.0.1:1\", " + role + "}\n" + tilesets, nil, ""},
		{"sts_endpoint by variable", "aws: {endpoint: \"http://127.0.0.1:1\", " + role + "}\n" + tilesets, []string{"AWS_ENDPOINT_URL_STS=http://127.0.0.1:1"}, ""},
		{"both endpoints by variable", "aws: {" + role + "}\n" + tilesets, []string{"AWS_ENDPOINT_URL=http://127.0.0.1:1"}, ""},
		{"endpoint without a role", "aws: {endpoint: \"http://127.0.0.1:1\"}\n" + tilesets, nil, ""},

		{"session policy", "aws:\n  " + role + "\ntilesets:\n" + many, []string{region}, ":2:3: aws.role.scope_down: the session policy for t0, t1, t2, t3, t4 and 4 more takes"},
		{"session policy of a tileset's role", "aws:\n  " + role + "\ntilesets:\n  few: {public: true, source: \"s3://tiles/few/{z}/{x}/{y}.png\"}\n" +
			strings.ReplaceAll(many, "public: true", "public: true, "+other), []string{region}, ":5:88: tilesets.t0.role.scope_down \"true\": the session policy for t0"},
		{"no session policy", "aws:\n  " + strings.Replace(role, "}", ", scope_down: false}", 1) + "\ntilesets:\n" + many, []string{region}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := writeFile(t, "tilegate.yaml", test.config)
			p, _ := start(t, test.env, "check", "-c", path)
			status, said := p.wait(), p.log()
			if test.want == "" {
				if status != 0 || said != "" {
					t.Errorf("got status %d and %q, want 0 and nothing", status, said)
				}
				return
			}
			if status != 2 || !strings.HasPrefix(said, path+test.want) || strings.Count(said, "\n") != 1 {
				t.Errorf("got status %d and %q, want 2 and one line that begins with %s", status, said, path+test.want)
			}
		})
	}
}

// serve refuses the same faults as check. check prints its notes before them.
func TestFaultsOfAWSComeAfterTheNotes(t *testing.T) {
	for _, variable := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"} {
		t.Setenv(variable, "")
	}
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	path := writeFile(t, "tilegate.yaml", `tilesets:
  a: {public: true, source: "s3://tiles/{z}/{x}/{y}.png"}
  roads: {public: true, source: "s3://tiles/{z}/{x}/{y}.mvt"}
`)
	fault := path + ":1:1: aws.region: is not set"
	for name, want := range map[string]string{"check": path + ":3: note: tilesets.roads.vector_layers: ", "serve": fault} {
		_, errs, status := command(t, name, "-c", path)
		if status != 2 || !strings.HasPrefix(errs, want) || !strings.Contains(errs, fault) {
			t.Errorf("%s: got status %d and %q, want 2 and %q", name, status, errs, want)
		}
	}
}

// Each field that package origin finds faults in has its key in the file. A fault without a key keeps its own text.
func TestFaultsOfTheOriginHaveTheirKey(t *testing.T) {
	path := writeFile(t, "tilegate.yaml", `aws:
  region: us-east-1
  role: {arn: "arn:aws:iam::123456789012:role/tiles-reader"}
presign: {expires: 15m}
auth: {issuers: [{issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256]}]}
tilesets:
  a: {public: true, source: "s3://tiles/a/{z}/{x}/{y}.png"}
  b: {public: true, source: "s3://tiles/b/{z}/{x}/{y}.png", vend: true, role: {arn: "arn:aws:iam::123456789012:role/other"}}
  w: {public: true, source: "s3://tiles/w/{z}/{x}/{y}.png", store: wasabi}
files:
  doc: {source: "s3://docs/doc.pdf"}
  own: {source: "s3://docs/own.pdf", role: {arn: "arn:aws:iam::123456789012:role/own"}}
stores:
  wasabi: {credentials: {profile: w}, role: {arn: "arn:aws:iam::123456789012:role/w"}}
`)
	config, err := configs.Load(path, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{&origin.OptionError{Field: "Region", Problem: "is wrong"}, `:2:11: aws.region "us-east-1": is wrong`},
		{&origin.OptionError{Field: "STSEndpoint", Problem: "is required", Hint: "write it"}, `:1:1: aws.sts_endpoint: is required; write it`},
		{&origin.OptionError{Store: "wasabi", Field: "Region", Problem: "is not set"}, `:14:3: stores.wasabi.region: is not set`},
		{&origin.OptionError{Store: "wasabi", Field: "Profile", Problem: "is unknown"}, `:14:35: stores.wasabi.credentials.profile "w": is unknown`},
		{&origin.SourceError{ID: "w", Field: "Role.ScopeDown", Problem: "is too long"}, `:14:39: stores.wasabi.role.scope_down: is too long`},
		{&origin.SourceError{ID: "file:own", Field: "Role.ScopeDown", Problem: "is too long"}, `:12:38: files.own.role.scope_down: is too long`},
		{&origin.OptionError{Field: "PresignExpires", Problem: "is short"}, `:4:20: presign.expires "15m": is short`},
		{&origin.SourceError{ID: "a", Field: "Bucket", Problem: "is no bucket"}, `:7:29: tilesets.a.source "s3://tiles/a/{z}/{x}/{y}.png": is no bucket`},
		{&origin.SourceError{ID: "file:doc", Field: "Bucket", Problem: "is no bucket"}, `:11:17: files.doc.source "s3://docs/doc.pdf": is no bucket`},
		{&origin.SourceError{ID: "b", Field: "Vend", Problem: "needs a role"}, `:8:67: tilesets.b.vend "true": needs a role`},
		{&origin.SourceError{ID: "a", Field: "Role.ScopeDown", Problem: "is too long"}, `:3:3: aws.role.scope_down: is too long`},
		{&origin.SourceError{ID: "file:doc", Field: "Role.ScopeDown", Problem: "is too long"}, `:3:3: aws.role.scope_down: is too long`},
		{&origin.SourceError{ID: "b", Field: "Role.ScopeDown", Problem: "is too long"}, `:8:73: tilesets.b.role.scope_down: is too long`},
		{&origin.SourceError{ID: "b", Field: "Key", Problem: "has no key"}, "b: Key: has no key"},
		{errors.New("no such profile"), "no such profile"},
		{
			errors.Join(&origin.SourceError{ID: "b", Field: "Vend", Problem: "is second"}, &origin.OptionError{Field: "Region", Problem: "is first"}),
			`:2:11: aws.region "us-east-1": is first` + "\n" + path + `:8:67: tilesets.b.vend "true": is second`,
		},
	} {
		want := tc.want
		if strings.HasPrefix(want, ":") {
			want = path + want
		}
		if got := originError(config, tc.err).Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// The example is valid except for the region, which is reported with its line.
func TestExampleNeedsARegionAlone(t *testing.T) {
	const example = "../../configs/tilegate.example.yaml"
	p, _ := start(t, nil, "check", "-c", example)
	if status, said := p.wait(), p.log(); status != 2 || strings.Count(said, ": aws.region: ") != 1 || !strings.Contains(said, "\n"+example+":") {
		t.Errorf("without a region: got status %d and %q", status, said)
	}
	p, _ = start(t, []string{"AWS_REGION=eu-central-1"}, "check", "-c", example)
	if status, said := p.wait(), p.log(); status != 0 {
		t.Errorf("with a region: got status %d and %q", status, said)
	}
}
