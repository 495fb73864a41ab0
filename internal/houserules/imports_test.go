package houserules_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mayImport says which of our packages each may import outside its tests, as docs/architecture.md has it. A
// name that ends in "/" stands for every package under it; the longest that fits holds.
var mayImport = map[string][]string{
	"auth":             {"internal/area", "internal/tile"},
	"tilecache":        {"internal/tile"},
	"configs":          {"auth", "internal/area", "internal/tile", "internal/weborigin"},
	"deploy":           {}, // its recipes' tests alone
	"proxy":            {"auth", "internal/pmtiles", "internal/tile", "internal/weborigin", "proxy/archive", "proxy/wire", "tilecache"},
	"proxy/archive":    {"internal/pmtiles", "internal/tile", "tilecache"},
	"proxy/wire":       {},
	"proxy/viewer":     {},
	"proxy/cdn":        {},
	"proxy/cloudfront": {},
	"proxy/origin":     {"internal/tile"},
	"internal/tile":    {},
	"internal/":        {"internal/", "auth", "tilecache"},
	"cmd/":             {"auth", "configs", "internal/", "proxy", "proxy/", "tilecache"},
}

// mustNotReach are packages that ours must not depend on, not even through others.
var mustNotReach = map[string][]string{
	"proxy":         {"github.com/aws/"},
	"proxy/archive": {"github.com/aws/"},
	"proxy/wire":    {"github.com/", "tilegate/"},
	"proxy/origin":  {"github.com/golang-jwt/", "github.com/prometheus/", "tilegate/auth", "tilegate/tilecache"},
	"auth":          {"github.com/aws/"},
	"tilecache":     {"github.com/aws/"},
	"configs":       {"github.com/aws/"},
	"internal/tile": {"github.com/", "golang.org/"},
}

type listed struct {
	ImportPath    string
	Imports, Deps []string
}

// list is what the go command says of every package of the module.
func list(t *testing.T) []listed {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "tilegate/...")
	command.Dir = filepath.Join("..", "..")
	out, err := command.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v: %s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// ruleFor finds the rule whose name fits a package best.
func ruleFor(name string) (string, bool) {
	best, found := "", false
	for rule := range mayImport {
		if (rule == name || strings.HasSuffix(rule, "/") && strings.HasPrefix(name, rule)) && len(rule) > len(best) {
			best, found = rule, true
		}
	}
	return best, found
}

func TestImportsPointOneWay(t *testing.T) {
	used := map[string]bool{}
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, "tilegate/")
		rule, ok := ruleFor(name)
		if !ok {
			t.Errorf("%s has no place in mayImport", name)
			continue
		}
		used[rule] = true
		for _, path := range p.Imports {
			imported, ours := strings.CutPrefix(path, "tilegate/")
			if ours && !slices.ContainsFunc(mayImport[rule], func(allowed string) bool {
				return allowed == imported || strings.HasSuffix(allowed, "/") && strings.HasPrefix(imported, allowed)
			}) {
				t.Errorf("%s imports %s; it may import %q", name, imported, mayImport[rule])
			}
		}
		for _, path := range p.Deps {
			if slices.ContainsFunc(mustNotReach[name], func(prefix string) bool { return strings.HasPrefix(path, prefix) }) {
				t.Errorf("%s depends on %s", name, path)
			}
		}
	}
	for rule := range mayImport {
		if !used[rule] {
			t.Errorf("no package is what %q speaks of", rule)
		}
	}
}
