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

// mayImport says which of our packages each may import outside its tests: DESIGN section 3. A name
// ending in "/" stands for every package under it; the longest that fits holds.
var mayImport = map[string][]string{
	"auth":         {},
	"tilecache":    {},
	"configs":      {},
	"deploy":       {}, // its recipes' tests alone
	"proxy":        {"auth", "tilecache"},
	"proxy/":       {"proxy", "auth", "tilecache"}, // what proxy declares, they satisfy
	"proxy/origin": {"proxy", "tilecache"},
	"internal/":    {"internal/", "auth", "tilecache"},
	"cmd/":         {"auth", "configs", "internal/", "proxy", "proxy/", "tilecache"},
}

// withoutAWS are those that must not reach the AWS SDK, not even through others.
var withoutAWS = []string{"proxy", "auth", "tilecache", "configs"}

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
			t.Errorf("%s has no place in DESIGN section 3", name)
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
		if slices.Contains(withoutAWS, name) {
			for _, path := range p.Deps {
				if strings.HasPrefix(path, "github.com/aws/") {
					t.Errorf("%s depends on %s", name, path)
				}
			}
		}
	}
	for rule := range mayImport {
		if !used[rule] {
			t.Errorf("no package is what %q speaks of", rule)
		}
	}
}
