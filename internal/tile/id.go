package tile

import "strings"

// maxID is the length of the longest id, in bytes.
const maxID = 64

// MaxPatterns is how many patterns one grant may hold.
const MaxPatterns = 256

// FilePrefix begins the patterns of grants that stand for files. A pattern without it never covers a file.
const FilePrefix = "file:"

// ValidID reports whether s is the id of a tileset or file: [a-z0-9][a-z0-9_-]{0,63}.
func ValidID(s string) bool { return validName(s, false) }

// ValidPattern reports whether s can stand in a grant: an id in which * may stand for any run of
// characters, the empty one included, after FilePrefix where it means files.
func ValidPattern(s string) bool { return validName(strings.TrimPrefix(s, FilePrefix), true) }

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
