package houserules_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Tests wait for what they wait for, and let a bubble's time pass by bubble.Advance. They skip by package testenv, which fails where
// CI lacks something.
func TestTestsNeitherSleepNorSkip(t *testing.T) {
	forbidden := regexp.MustCompile(`\btime\.Sleep\(|\b[tbf]\.Skip(f|Now)?\(`)
	err := fs.WalkDir(os.DirFS(filepath.Join("..", "..")), ".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || len(path) > 1 && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case !strings.HasSuffix(path, "_test.go") || path == "internal/houserules/tests_test.go":
			return nil
		}
		text, err := os.ReadFile(filepath.Join("..", "..", path))
		for n, line := range strings.Split(string(text), "\n") {
			if forbidden.MatchString(line) {
				t.Errorf("%s:%d: %s", path, n+1, strings.TrimSpace(line))
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
