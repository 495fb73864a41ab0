package configs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// maxFile bounds a configuration file, in bytes. A thousand tilesets need a third of it.
const maxFile = 1 << 20

// Rule is a check of the caller's, for what configs does not know: the environment, or a package that it
// does not import. It returns a fault for each key that breaks the rule, with Key, Problem and Hint; Load
// adds where the key stands. Other rules may be broken at the same time, so a value may be missing, or be
// zero because it could not be read. A fault is dropped if its key has another one already.
type Rule func(*Config) []Fault

// Load reads the configuration in a file. Variables and secrets come from lookupEnv (os.LookupEnv)
// and from files beside it. The error is an *Error with every fault, those of rules included, unless the
// file cannot be read.
func Load(path string, lookupEnv func(string) (string, bool), rules ...Rule) (*Config, error) {
	data, err := readBounded(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("configuration %s: %w", path, err)
	}
	return Parse(path, data, lookupEnv, rules...)
}

// Parse does what Load does with the content of a file. The name stands in faults, and relative paths start
// at its directory. The error is an *Error with every fault.
func Parse(name string, data []byte, lookupEnv func(string) (string, bool), rules ...Rule) (*Config, error) {
	r := newReport(name)
	root := parseYAML(data, r)
	if len(r.faults) > 0 {
		return nil, r.err() // nothing else can be said about a file that is not YAML
	}
	c, dir := defaults(), filepath.Dir(name)
	c.report = r
	d := decoder{report: r, config: c, dir: dir, lookupEnv: lookupEnv}
	d.document(root)
	c.derive(dir)
	v := validator{report: r, Config: c}
	v.validate()
	if len(r.faults) == 0 {
		c.Notes = v.notes()
	}
	for _, rule := range rules {
		for _, f := range rule(c) {
			if !slices.ContainsFunc(r.faults, func(known Fault) bool { return known.Key == f.Key }) {
				v.fault(f.Key, f.Problem, f.Hint)
			}
		}
	}
	if len(r.faults) > 0 {
		e := r.err()
		e.Notes = c.Notes
		return nil, e
	}
	return c, nil
}

// parseYAML returns the one document in data, nil if there is none.
func parseYAML(data []byte, r *report) *yaml.Node {
	switch {
	case len(data) > maxFile:
		r.add("", fmt.Sprintf("is larger than %s", Size(maxFile)), "")
		return nil
	case !utf8.Valid(data):
		r.add("", "is not UTF-8 text", "")
		return nil
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data))
	if err != nil {
		r.add("", err.Error(), "")
		return nil
	}
	var doc, second yaml.Node
	if err := loader.Load(&doc); errors.Is(err, io.EOF) {
		return nil
	} else if err != nil {
		r.syntax(err)
		return nil
	}
	if err := loader.Load(&second); err == nil {
		r.positions[""] = position{line: second.Line, column: second.Column}
		r.add("", "a second YAML document begins here", "keep one in the file")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(err)
	}
	return doc.Content[0]
}

// syntax notes an error of the YAML parser. Its messages quote none of the file's values.
func (r *report) syntax(err error) {
	problem, hint := err.Error(), ""
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		problem = e.Message
		if e.Mark.Line > 0 {
			r.positions[""] = position{line: e.Mark.Line, column: e.Mark.Column}
		}
	}
	switch {
	case strings.Contains(problem, "did not find expected ',' or"):
		hint = `between { } or [ ], quote a value that holds braces, brackets or commas: {source: "s3://…/{z}"}`
	case strings.Contains(problem, "cannot start any token"):
		hint = "indent with spaces, and quote a value that begins with @, % or `"
	case strings.Contains(problem, "did not find expected key"):
		hint = "indent the keys of one mapping by the same number of spaces"
	case strings.Contains(problem, "mapping values are not allowed"):
		hint = "check the indentation, and quote a value that holds a colon and a space"
	}
	r.add("", "is not YAML: "+problem, hint)
}

// readBounded reads a regular file of at most limit bytes. Any other kind of file could block or never end.
func readBounded(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, withoutPath(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, withoutPath(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("is larger than %s", Size(limit))
	}
	return data, nil
}

// withoutPath removes the path from an error: the fault names the file as the operator wrote it.
func withoutPath(err error) error {
	if e, ok := errors.AsType[*os.PathError](err); ok {
		return e.Err
	}
	return err
}
