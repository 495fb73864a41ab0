package tile

import "strings"

// maxID is the length of the longest id, in bytes.
const maxID = 64

// MaxPatterns is how many patterns one grant may hold.
const MaxPatterns = 256

// FilePrefix begins the patterns of grants that stand for files. A pattern without it never covers a file.
const FilePrefix = "file:"

// BundlePrefix begins the patterns of grants that stand for bundles. A pattern without it never covers a bundle.
const BundlePrefix = "bundle:"

// CutPattern splits a pattern into the prefix that says what it stands for, "" for tilesets, and the rest.
func CutPattern(pattern string) (prefix, rest string) {
	for _, prefix := range [...]string{FilePrefix, BundlePrefix} {
		if rest, ok := strings.CutPrefix(pattern, prefix); ok {
			return prefix, rest
		}
	}
	return "", pattern
}

// ValidID reports whether s is the id of a tileset, file or bundle: [a-z0-9][a-z0-9_-]{0,63}.
func ValidID(s string) bool { return validName(s, false) }

// ValidPattern reports whether s can stand in a grant: an id in which * may stand for any run of
// characters, the empty one included, after FilePrefix where it means files, or BundlePrefix where it means bundles.
func ValidPattern(s string) bool {
	_, name := CutPattern(s)
	return validName(name, true)
}

func validName(s string, wildcard bool) bool {
	if s == "" || len(s) > maxID || s[0] == '_' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '_' && c != '-' && (c != '*' || !wildcard) {
			return false
		}
	}
	return true
}
