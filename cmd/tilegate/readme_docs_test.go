//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// paste runs commands of a page in a directory, as its reader does who has built ./tilegate there.
func paste(t *testing.T, dir, commands string, env ...string) {
	t.Helper()
	testenv.NeedCurl(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(dir, "tilegate")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-euc", "trap 'kill $(jobs -p) 2>/dev/null || :' EXIT\n"+commands)
	shell.Dir, shell.Env = dir, append(cleanEnvironment(), append(env, actAsTilegate+"=1")...)
	if out, err := shell.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", commands, err, out)
	}
}

// The README's commands for a bucket of one's own, pasted one after the other without a pause, end with a tile.
func TestREADMEServesABucket(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(readme), "\n## Serve your own bucket\n")
	section, _, _ = strings.Cut(section, "\n## ")
	section = strings.ReplaceAll(section, "\n   ", "\n") // the steps of a list are indented
	var commands string
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1) {
		commands += block[1]
	}
	yaml := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(section)
	build := regexp.MustCompile(`(?m)^make build .*\n`)
	if yaml == nil || !build.MatchString(commands) || !strings.Contains(section, "`kill %1` stops") {
		t.Fatalf("the README's section has the configuration %q and the commands:\n%s", yaml, commands)
	}

	bucket, address := privateBucket(t), freeAddress(t)
	// Pasted at once, the commands are faster than the start of the server on some machines, and slower on others.
	if !regexp.MustCompile(`(?s)serve [^\n]*&\ncurl [^\n]*--retry-connrefused [^\n]*/ready\n.*-o tile\.png`).MatchString(commands) {
		t.Errorf("the commands do not wait for the server:\n%s", commands)
	}
	image := []byte("\x89PNG\r\n\x1a\n and more")
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: image})
	config := strings.NewReplacer(
		"acme-private-tiles", "tiles", "arn:aws:iam::123456789012:role/tiles-reader", testRole, "eu-central-1", "us-east-1",
		"aws:\n", fmt.Sprintf("server: {listen: %q, admin_listen: \"\"}\naws:\n  endpoint: %q\n  sts_endpoint: %[2]q\n  path_style: true\n", address, bucket.URL()),
	).Replace(yaml[1])
	path := writeFile(t, "tilegate.yaml", config)
	commands = strings.ReplaceAll(build.ReplaceAllString(commands, ""), "127.0.0.1:8080", address)
	paste(t, filepath.Dir(path), commands+"kill %1\nwait %1\n", baseCredentials(testKey, testSecret)...)
	if got, err := os.ReadFile(filepath.Join(filepath.Dir(path), "tile.png")); err != nil || !bytes.Equal(got, image) {
		t.Errorf("tile.png: got %.40q, error %v", got, err)
	}
}
