package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	File         string
	Line, Column int    // from 1, of the key or value, or of what it is missing from; columns count characters
	Key          string // e.g. auth.issuers[0].jwks_url; "" for the file as a whole
	Value        string // as the file has it; "" where there is none, and wherever it may be a secret
	Problem      string // e.g. "is not a duration"
	Hint         string // what to do, or ""
}

// String returns the fault in one line: tilegate.yaml:12:11: cache.fresh "5x": is not a duration; write 90s, 10m or 24h.
func (f Fault) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", f.File, f.Line, f.Column)
	if f.Key != "" {
		b.WriteString(f.Key)
		if f.Value != "" {
			fmt.Fprintf(&b, " %q", shorten(f.Value))
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Problem)
	if f.Hint != "" {
		b.WriteString("; " + f.Hint)
	}
	return b.String()
}

// Error holds every fault in a configuration, in the order of the file's lines. It is never empty.
type Error struct {
	Faults []Fault
	Notes  []Note // those of Config, if the file breaks only rules of the caller
}

func (e *Error) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		lines[i] = f.String()
	}
	return strings.Join(lines, "\n")
}

// position is where a key stands in the file, and its value there where faults may show it.
type position struct {
	line, column int
	value        string
}

// report gathers faults. It knows where every key of the file stands, and which could not be read.
type report struct {
	file         string
	positions    map[string]position
	faults       []Fault
	unread       map[string]bool // keys whose values could not be read
	aroundUnread map[string]bool // keys that hold one of those
}

func newReport(file string) *report {
	return &report{
		file: file, positions: map[string]position{"": {line: 1, column: 1}},
		unread: map[string]bool{}, aroundUnread: map[string]bool{},
	}
}

// add notes a fault of a key.
func (r *report) add(key, problem, hint string) {
	r.faults = append(r.faults, r.locate(key, problem, hint))
}

// addUnread notes a fault of a key whose value is unknown because of it.
func (r *report) addUnread(key, problem, hint string) {
	r.add(key, problem, hint)
	r.markUnread(key)
}

// markUnread keeps rules from repeating a fault that has been noted elsewhere: the value of the key is unknown.
func (r *report) markUnread(key string) {
	r.unread[key] = true
	for k := key; k != ""; k = parent(k) {
		r.aroundUnread[parent(k)] = true
	}
}

// fault notes that the value of a key breaks a rule. It does nothing if that value, or that of another
// key which the rule looks at, could not be read: the rule would only repeat that fault.
func (r *report) fault(key, problem, hint string, others ...string) {
	if !r.isUnread(key) && !slices.ContainsFunc(others, r.isUnread) {
		r.add(key, problem, hint)
	}
}

// isUnread reports whether the value of a key could not be read, or only in part.
func (r *report) isUnread(key string) bool {
	if r.aroundUnread[key] {
		return true
	}
	for k := key; ; k = parent(k) {
		if r.unread[k] {
			return true
		}
		if k == "" {
			return false
		}
	}
}

// locate returns a fault with the position of its key, or of what the key is missing from.
func (r *report) locate(key, problem, hint string) Fault {
	at, ok := r.positions[key]
	for k := key; !ok; {
		k = parent(k)
		at, ok = r.positions[k]
		at.value = ""
	}
	return Fault{
		File: r.file, Line: at.line, Column: at.column,
		Key: key, Value: at.value, Problem: problem, Hint: hint,
	}
}

// written reports whether the file sets a key.
func (r *report) written(key string) bool {
	_, ok := r.positions[key]
	return ok
}

// err returns the faults as an error.
func (r *report) err() *Error {
	slices.SortStableFunc(r.faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return &Error{Faults: r.faults}
}

// child returns the path of a key within another: tilesets.basemap. A name with other characters than a
// key's is quoted, so that a path is one line whatever the file holds.
func child(key, name string) string {
	if !bareName.MatchString(name) {
		name = fmt.Sprintf("%q", shorten(name))
	}
	if key == "" {
		return name
	}
	return key + "." + name
}

func element(key string, i int) string { return fmt.Sprintf("%s[%d]", key, i) }

// parent returns the path of what holds a key.
func parent(key string) string {
	return key[:max(strings.LastIndexAny(key, ".["), 0)]
}

func shorten(s string) string {
	const limit = 80
	if r := []rune(s); len(r) > limit {
		return string(r[:limit]) + "…"
	}
	return s
}

// nearest returns the option that was probably meant, or "".
func nearest(word string, options []string) string {
	best, distance := "", 3
	if len(word) > 64 {
		return ""
	}
	normal := strings.ReplaceAll(strings.ToLower(word), "-", "_")
	for _, o := range options {
		if d := editDistance(normal, o); d < distance && d < len(o) {
			best, distance = o, d
		}
	}
	return best
}

// didYouMean returns a hint at the nearest option, or the list of all.
func didYouMean(word string, options []string) string {
	if n := nearest(word, options); n != "" {
		return fmt.Sprintf("did you mean %s?", n)
	}
	return "known: " + strings.Join(options, ", ")
}

// editDistance returns how many letters must be inserted, removed or changed to turn one word into the
// other.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
