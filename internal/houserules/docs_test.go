package houserules_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
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

// documents calls yield for each file of the tree with one of the extensions, without what tools have fetched or built.
func documents(t *testing.T, yield func(path, text string), extensions ...string) {
	t.Helper()
	root := os.DirFS(filepath.Join("..", ".."))
	err := fs.WalkDir(root, ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git" || entry.Name() == ".cache"):
			return fs.SkipDir
		case entry.IsDir() || !slices.Contains(extensions, filepath.Ext(path)):
			return nil
		}
		text, err := fs.ReadFile(root, path)
		yield(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// A link leads to a file that exists, and to a heading that the file has.
func TestLinksInTheDocumentation(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading := regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInAnchors := regexp.MustCompile("[^a-z0-9 _-]")
	links := 0
	documents(t, func(path, text string) {
		for _, found := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(found[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			links++
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			there, err := os.ReadFile(filepath.Join("..", "..", to))
			if info, statErr := os.Stat(filepath.Join("..", "..", to)); statErr == nil && info.IsDir() {
				err = nil
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", path, found[1], err)
				continue
			}
			known := anchor == ""
			for _, h := range heading.FindAllStringSubmatch(string(there), -1) {
				name := notInAnchors.ReplaceAllString(strings.ToLower(h[1]), "")
				known = known || strings.ReplaceAll(name, " ", "-") == anchor
			}
			if !known {
				t.Errorf("%s links to %s: there is no such heading", path, found[1])
			}
		}
	}, ".md")
	if links < 20 {
		t.Errorf("found %d links; something is wrong with how they are found", links)
	}
}

// A reader of the tree cannot follow a reference to a document outside of it.
func TestNoFileRefersOutsideOfTheTree(t *testing.T) {
	outside := regexp.MustCompile(`\b(?:DESIGN|STYLE)(?: section|\.md)|\.\./shared/`)
	documents(t, func(path, text string) {
		if found := outside.FindString(text); found != "" && filepath.Base(path) != "docs_test.go" {
			t.Errorf("%s refers to %q", path, found)
		}
	}, ".md", ".go", ".yaml", ".yml", ".conf", ".vcl", ".js", ".mjs", ".service")
}

// Every file that docs/architecture.md names by its path exists, and has the function that the first table names beside it.
func TestArchitecturePageNamesFilesThatExist(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "architecture.md"))
	if err != nil {
		t.Fatal(err)
	}
	inTree := regexp.MustCompile("`((?:cmd|configs|auth|tilecache|proxy|internal|docs|deploy)/[\\w./-]+\\.\\w+)`")
	files := inTree.FindAllSubmatch(page, -1)
	if len(files) < 50 {
		t.Errorf("the page names %d files; something is wrong with how they are found", len(files))
	}
	for _, file := range files {
		if _, err := os.Stat(filepath.Join("..", "..", string(file[1]))); err != nil {
			t.Errorf("docs/architecture.md names %s: %v", file[1], err)
		}
	}
	row := regexp.MustCompile("(?m)^\\| .+ \\| `([\\w./]+\\.go)` \\| `([\\w.]+)`")
	rows := row.FindAllSubmatch(page, -1)
	if len(rows) < 10 {
		t.Errorf("the table has %d rows with a function; something is wrong with how they are found", len(rows))
	}
	for _, r := range rows {
		source, err := os.ReadFile(filepath.Join("..", "..", string(r[1])))
		if err != nil {
			continue // reported above
		}
		name := string(r[2])[strings.LastIndex(string(r[2]), ".")+1:]
		if !regexp.MustCompile(`(?m)^func (?:\([^)]*\) )?` + name + `\(|^(?:var )?` + name + ` +=|^type ` + name + ` `).Match(source) {
			t.Errorf("docs/architecture.md: %s has no %s", r[1], name)
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
