// Package testenv starts the real servers that tests and benchmarks are held against: MinIO,
// versitygw, nginx, Varnish, Caddy, Redis, go-pmtiles, an OpenID provider; and finds a Chromium, Node.js and SQLite. Each server runs on a free
// loopback port in a temporary directory, and ends with its test. Where a program is missing the test is skipped with the line
// that installs it; with CI=true it fails instead.
package testenv

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// find returns a program's path: from .cache/bin under the module's root, else from PATH. The first
// of the names that is found is used. With go test -short every test that calls it is skipped.
func find(t testing.TB, install string, names ...string) string {
	t.Helper()
	if testing.Short() {
		t.Skipf("-short: this test starts %s", names[0])
	}
	for _, name := range names {
		if path, err := exec.LookPath(filepath.Join(moduleRoot(t), ".cache", "bin", name)); err == nil {
			return path
		}
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, names[0], install)
	return ""
}

// Missing ends a test for want of something: it skips it with the line that installs it, and with CI=true fails it.
func Missing(t testing.TB, what, install string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing; install it: %s", what, install)
	}
	t.Skipf("%s is missing; install it: %s", what, install)
}

// NeedNodeModules ends a test for want of modules of npm that the scripts of the browser suite use.
func NeedNodeModules(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(moduleRoot(t), ".ci", "browser", "node_modules", name)); err != nil {
			Missing(t, name, "make browser")
		}
	}
}

// NeedCurl ends a test for want of curl.
func NeedCurl(t testing.TB) {
	t.Helper()
	find(t, "apt-get install curl", "curl")
}

// NeedJQ ends a test for want of jq.
func NeedJQ(t testing.TB) {
	t.Helper()
	find(t, "apt-get install jq", "jq")
}

// moduleRoot is the nearest directory upwards that holds go.mod: go test runs in the package's.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for parent := filepath.Dir(dir); ; dir, parent = parent, filepath.Dir(parent) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == parent {
			t.Fatal("no go.mod above the working directory")
		}
	}
}

// Chromium is the path of a Chromium or Chrome, to be run headless.
func Chromium(t testing.TB) string {
	t.Helper()
	return find(t, "apt-get install chromium", "chromium", "chromium-browser", "google-chrome")
}

// Node is the path of Node.js.
func Node(t testing.TB) string {
	t.Helper()
	return find(t, "apt-get install nodejs npm", "node")
}

// NodeTest runs a file of tests that are written in JavaScript, as what they test is.
func NodeTest(t testing.TB, file string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), Node(t), "--test", file).CombinedOutput()
	if err != nil {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}
