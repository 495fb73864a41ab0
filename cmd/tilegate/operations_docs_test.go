//go:build unix

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tilegate/configs"
	"tilegate/internal/testenv"
)

// The commands of docs/operations.md for the admin listener succeed, pasted one after the other.
func TestOperationsPageCommands(t *testing.T) {
	testenv.NeedJQ(t)
	r := startReloadable(t)
	var commands []string
	for _, line := range regexp.MustCompile(`(?m)^curl .*$`).FindAllString(operationsPage(t), -1) {
		line = strings.Replace(line, "curl ", "curl -fsS ", 1) // a refusal then has a status of its own
		commands = append(commands, strings.ReplaceAll(line, "127.0.0.1:9090", r.admin))
	}
	if len(commands) < 10 {
		t.Fatalf("docs/operations.md has the commands %q", commands)
	}
	paste(t, filepath.Dir(r.path), "set -o pipefail\n"+strings.Join(commands, "\n"))
}

// What docs/operations.md adds to a configuration for several instances is all that they need.
func TestOperationsPageSeveralInstances(t *testing.T) {
	_, section, _ := strings.Cut(operationsPage(t), "\n## Several instances\n")
	_, added, _ := strings.Cut(section, "```yaml\n")
	added, _, _ = strings.Cut(added, "```")
	key, _, _ := command(t, "keygen")
	path := writeFile(t, "tilegate.yaml", added+"aws: {region: eu-central-1}\ntilesets: {basemap: {source: \"s3://acme-private-tiles/{z}/{x}/{y}.png\"}}\n")
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "tilegate.key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	config, err := configs.Load(path, func(name string) (string, bool) { return "secret", name == "REDIS_PASSWORD" })
	if err != nil || !config.Shared.Enabled() {
		t.Errorf("%s: got error %v", added, err)
	}
}

// The token command that deploy/compose tells is one that tilegate takes.
func TestComposeTokenCommand(t *testing.T) {
	text, err := os.ReadFile("../../deploy/compose/compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	args := regexp.MustCompile(`(?m)exec tilegate-1 /tilegate (token [^#\n]*)`).FindSubmatch(text)
	if args == nil {
		t.Fatal("deploy/compose/compose.yaml shows no token command")
	}
	config, _ := tenLines(t, "http://127.0.0.1:9", testRole)
	t.Setenv("TILEGATE_CONFIG", config)
	if out, errs, status := command(t, strings.Fields(string(args[1]))...); status != 0 || strings.Count(out, ".") != 2 {
		t.Errorf("%s: got status %d, %q, %s", args[1], status, out, errs)
	}
}

func operationsPage(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
