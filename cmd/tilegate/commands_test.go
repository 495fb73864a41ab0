package main

import (
	"encoding/base64"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
)

func TestUsage(t *testing.T) {
	for _, test := range []struct {
		name   string
		args   []string
		status int
		says   string // in standard error
	}{
		{"no command", nil, 2, "expected one of"},
		{"unknown command", []string{"sevre"}, 2, "unexpected argument sevre"},
		{"unknown flag", []string{"serve", "--wrong"}, 2, "unknown flag --wrong"},
		{"no configuration", []string{"serve"}, 2, "--config"},
		{"a configuration that is not there", []string{"check", "-c", "none.yaml"}, 2, "none.yaml"},
		{"help", []string{"--help"}, 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, errs, status := command(t, test.args...)
			if status != test.status || !strings.Contains(errs, test.says) {
				t.Errorf("got status %d and %q, want %d and %q", status, errs, test.status, test.says)
			}
		})
	}
}

func TestKeygenMakesANewKeyEachTime(t *testing.T) {
	first, _, _ := command(t, "keygen")
	second, _, _ := command(t, "keygen")
	key, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(first))
	if err != nil || len(key) != 32 || first == second {
		t.Errorf("got %q and %q, want two keys of 32 bytes", first, second)
	}
}

func TestVersion(t *testing.T) {
	out, _, status := command(t, "version")
	if status != 0 || !regexp.MustCompile(`^tilegate \S+, commit \S+, go1\.\d+\S*\n$`).MatchString(out) {
		t.Errorf("got %q, status %d", out, status)
	}
}

// A file with several faults tells all of them at once, each with its line, and exits with 2.
func TestCheckTellsEveryFaultWithItsLine(t *testing.T) {
	path := writeFile(t, "tilegate.yaml", `server:
  listne: ":8080"
cache: {memory: 512MB}
auth:
  issuers:
    - {issuer: "http://id.example.com/", algorithms: [none]}
tilesets:
  Base: {source: "s3://tiles/{z}/{x}.png"}
`)
	for _, name := range []string{"check", "serve"} {
		out, errs, status := command(t, name, "-c", path)
		if status != 2 || out != "" {
			t.Errorf("%s: got status %d and %q on standard output, want 2 and nothing", name, status, out)
		}
		for _, want := range []string{path + ":2:", "listne", path + ":3:", "512MB", path + ":6:", "none", path + ":8:", "Base"} {
			if !strings.Contains(errs, want) {
				t.Errorf("%s: %q is not in:\n%s", name, want, errs)
			}
		}
	}
}

// Editors find their way by a line that begins with file, line and column; any other says who speaks.
func TestFaultsBeginWithTheirFile(t *testing.T) {
	path := writeFile(t, "tilegate.yaml", "sever: {}\ntilesets: {}\n")
	for _, test := range []struct{ name, path, want string }{
		{"faults", path, path + ":1:1: sever: "},
		{"no file", path + ".bak", "tilegate: configuration " + path + ".bak: "},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, _ := start(t, nil, "check", "-c", test.path)
			if status, said := p.wait(), p.log(); status != 2 || !strings.HasPrefix(said, test.want) {
				t.Errorf("got status %d and %q, want 2 and %q", status, said, test.want)
			}
		})
	}
}

func TestCheckAcceptsTheExample(t *testing.T) {
	config, _ := tenLines(t, "http://127.0.0.1:9000", testRole)
	out, errs, status := command(t, "check", "-c", config)
	if status != 0 || !strings.Contains(out, "ok, 1 tilesets") {
		t.Errorf("got %q, %q, status %d", out, errs, status)
	}
}

func TestPortInUseIsOneClearLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	path := writeFile(t, "tilegate.yaml", "server: {listen: \""+taken.Addr().String()+"\", admin_listen: \"\"}\naws: {region: us-east-1}\n"+
		"tilesets:\n  a: {public: true, source: \"s3://tiles/{z}/{x}/{y}.png\"}\n")
	_, errs, status := command(t, "serve", "-c", path)
	if want := "server.listen " + taken.Addr().String() + " is in use: stop what listens there, or choose another port"; status != 1 || !strings.HasSuffix(errs, want) || strings.Contains(errs, "goroutine") {
		t.Errorf("got status %d and %q, want 1 and %q at the end", status, errs, want)
	}
}

func TestTokenRefuses(t *testing.T) {
	config, _ := tenLines(t, "http://127.0.0.1:9000", testRole)
	noKey := writeFile(t, "tilegate.yaml", "aws: {region: us-east-1}\ntilesets:\n  a: {public: true, source: \"s3://tiles/{z}/{x}/{y}.png\"}\n")
	for _, test := range []struct{ name, config, flags, says string }{
		{"no signing key", noKey, "--tilesets a", "auth.signing_keys is empty"},
		{"a bad zoom", config, "--tilesets a --zoom 3", "--zoom"},
		{"a bad box", config, "--tilesets a --bbox 1,2,3", "--bbox"},
		{"a flag for a box", config, "--tilesets a --bbox --path", "--bbox"},
		{"a letter for a box", config, "--tilesets a --bbox -c,2,3,20", "--bbox"},
		{"too long a life", config, "--tilesets a --ttl 1000h", "max_lifetime"},
		{"no such id", config, "--tilesets A!", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, errs, status := command(t, append([]string{"token", "-c", test.config, "--subject", "s"}, strings.Fields(test.flags)...)...)
			if status != 2 || out != "" || !strings.Contains(errs, test.says) {
				t.Errorf("got status %d, %q and %q, want 2, nothing and %q", status, out, errs, test.says)
			}
		})
	}
}

// A box that begins west of Greenwich begins with a minus, which makes no flag of it.
func TestTokenForABoxInTheWest(t *testing.T) {
	config, _ := tenLines(t, "http://127.0.0.1:9000", testRole)
	for _, test := range []struct{ name, flags, want string }{
		{"apart", "--bbox -10,2,3,20", "[-10,2,3,20]"},
		{"apart, before other flags", "--bbox -10.5,-2,-3,20 --zoom 0-4", "[-10.5,-2,-3,20]"},
		{"apart, without a zero", "--bbox -.5,2,3,20", "[-0.5,2,3,20]"},
		{"with =", "--bbox=-10,2,3,20", "[-10,2,3,20]"},
		{"in the east", "--bbox 10,2,13,20", "[10,2,13,20]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			token := mintToken(t, config, append([]string{"--tilesets", "basemap"}, strings.Fields(test.flags)...)...)
			payload, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
			if err != nil || !strings.Contains(string(payload), `"bbox":`+test.want) {
				t.Errorf("got %s, %v; want the box %s", payload, err, test.want)
			}
		})
	}
}

func TestCheckOnlineTellsWhatWorks(t *testing.T) {
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	config, _ := tenLines(t, bucket.URL(), testRole)
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret, "AWS_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "",
	} {
		t.Setenv(name, value)
	}
	out, errs, status := command(t, "check", "-c", config, "--online")
	if status != 0 || !strings.Contains(out, "basemap/0/0/0.png") || !strings.Contains(out, testRole) {
		t.Errorf("got status %d, %q and:\n%s", status, errs, out)
	}

	// What fails stands beneath its row, and takes no part in the columns.
	more, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	withFault := writeFile(t, "tilegate.yaml", string(more)+"  a-bad-one: {source: \"s3://nowhere/{z}/{x}/{y}.png\"}\n")
	out, errs, status = command(t, "check", "-c", withFault, "--online")
	lines := strings.Split(out, "\n")
	if status != 1 || len(lines) < 4 || !strings.HasPrefix(lines[1], "a-bad-one") || !strings.Contains(lines[2], "NoSuchBucket") {
		t.Fatalf("with a fault: got status %d, %q and:\n%s", status, errs, out)
	}
	for _, column := range []struct{ head, cell string }{{"RESULT", "ok"}, {"CREDENTIALS", "AssumeRole"}, {"READ", "basemap/0/0/0.png"}, {"A MISSING KEY", "404: "}} {
		row := lines[slices.IndexFunc(lines, func(line string) bool { return strings.HasPrefix(line, "basemap") })]
		if at := strings.Index(lines[0], column.head); at < 0 || !strings.HasPrefix(row, "basemap") || !strings.HasPrefix(row[min(at, len(row)):], column.cell) {
			t.Errorf("%s is not over %s in\n%s", column.head, column.cell, out)
		}
	}

	t.Setenv("AWS_SECRET_ACCESS_KEY", "another")
	out, errs, status = command(t, "check", "-c", config, "--online")
	if status != 1 || !strings.Contains(out, "FAILED") || !strings.Contains(out, "SignatureDoesNotMatch") {
		t.Errorf("with a wrong secret: got status %d, %q and:\n%s", status, errs, out)
	}
	if strings.Contains(out+errs, "another") {
		t.Error("the secret is in the output")
	}
}

// An archive needs no other tileset beside it, and no key but its source.
func TestCheckOfAnArchive(t *testing.T) {
	path := writeFile(t, "tilegate.yaml", `aws: {region: us-east-1}
tilesets: {roads: {public: true, source: "s3://tiles/roads.pmtiles"}}
`)
	out, errs, status := command(t, "check", "-c", path)
	if status != 0 || errs != "" || !strings.Contains(out, "1 tilesets") {
		t.Errorf("got status %d, %q and %q, want 0 and no note", status, out, errs)
	}
}

// help is --help: of the program, or of one command.
func TestHelp(t *testing.T) {
	flag, _, _ := command(t, "--help")
	for _, listed := range []string{"serve", "demo", "check", "token", "keygen", "version", "health", "help"} {
		if !strings.Contains(flag, "\n  "+listed+" ") {
			t.Errorf("--help does not list %s: %s", listed, flag)
		}
	}
	if out, errs, status := command(t, "help"); status != 0 || out != flag {
		t.Errorf("help: got status %d, %s%s", status, out, errs)
	}
	flag, _, _ = command(t, "check", "--help")
	if out, errs, status := command(t, "help", "check"); status != 0 || out != flag || !strings.Contains(out, "--online") {
		t.Errorf("help check: got status %d, %s%s", status, out, errs)
	}
	if _, _, status := command(t, "help", "nonsense"); status != 2 {
		t.Errorf("help nonsense: got status %d, want 2", status)
	}
}
