package houserules_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that docs/security.md names as evidence exists.
func TestSecurityPageNamesTestsThatExist(t *testing.T) {
	root := os.DirFS(filepath.Join("..", ".."))
	page, err := fs.ReadFile(root, "docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || len(path) > 1 && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		source, err := fs.ReadFile(root, path)
		for _, name := range declared.FindAllSubmatch(source, -1) {
			exists[string(name[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`").FindAllSubmatch(page, -1)
	if len(named) < 50 {
		t.Errorf("the page names %d tests; something is wrong with how they are found", len(named))
	}
	for _, name := range named {
		if !exists[string(name[1])] {
			t.Errorf("docs/security.md names %s, which is not there", name[1])
		}
	}
}

// What the README gives to paste into AWS is JSON, and the role that is trusted may assume.
func TestREADMEPoliciesAreJSON(t *testing.T) {
	page, err := fs.ReadFile(os.DirFS(filepath.Join("..", "..")), "README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(page, -1)
	trusts, allows := false, false
	for _, block := range blocks {
		var policy struct {
			Version   string
			Statement []struct{ Effect, Action, Resource, Principal any }
		}
		if err := json.Unmarshal(block[1], &policy); err != nil || policy.Version != "2012-10-17" {
			t.Errorf("%v in\n%s", err, block[1])
		}
		for _, s := range policy.Statement {
			trusts = trusts || s.Action == "sts:AssumeRole" && s.Principal != nil
			allows = allows || s.Action == "sts:AssumeRole" && s.Resource != nil
		}
	}
	if !trusts || !allows {
		t.Errorf("of %d policies one trusts: %t, one allows sts:AssumeRole: %t", len(blocks), trusts, allows)
	}
}
