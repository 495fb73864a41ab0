package proxy

import (
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"
)

// validators are what a representation is known by (RFC 9110 section 8.8).
type validators struct {
	etag     string    // with quotes, and W/ where it is weak; "" unknown
	modified time.Time // zero: unknown
}

// notModified evaluates If-None-Match, else If-Modified-Since, for GET and HEAD (RFC 9110 section 13.2.2).
func (v validators) notModified(h http.Header) bool {
	if given, ok := h["If-None-Match"]; ok {
		return v.listed(given, true)
	}
	since, ok := dateIn(h, "If-Modified-Since")
	return ok && !v.modified.IsZero() && !v.modified.Truncate(time.Second).After(since)
}

// preconditionFailed evaluates If-Match, else If-Unmodified-Since (RFC 9110 section 13.2.2).
func (v validators) preconditionFailed(h http.Header) bool {
	if given, ok := h["If-Match"]; ok {
		return !v.listed(given, false)
	}
	since, ok := dateIn(h, "If-Unmodified-Since")
	return ok && v.modified.Truncate(time.Second).After(since)
}

// dateIn reads a header field that holds one date.
func dateIn(h http.Header, field string) (time.Time, bool) {
	given := h[field]
	if len(given) != 1 {
		return time.Time{}, false
	}
	t, err := http.ParseTime(given[0])
	return t, err == nil
}

// listed reports whether lists of entity tags hold ours, or "*", which stands for any. A weak comparison
// also accepts tags that are marked as weak (RFC 9110 section 8.8.3.2).
func (v validators) listed(lists []string, weak bool) bool {
	opaque, oursIsWeak := strings.CutPrefix(v.etag, "W/")
	for _, list := range lists {
		for list = strings.TrimLeft(list, " \t,"); list != ""; list = strings.TrimLeft(list, " \t,") {
			if textproto.TrimString(list) == "*" {
				return true
			}
			tag, isWeak := strings.CutPrefix(list, "W/")
			if tag == "" || tag[0] != '"' {
				break
			}
			end := strings.IndexByte(tag[1:], '"')
			if end < 0 {
				break
			}
			if tag[:end+2] == opaque && (weak || !isWeak && !oursIsWeak) {
				return true
			}
			list = tag[end+2:]
		}
	}
	return false
}

// byteRange is a part of a representation: offset and length in bytes.
type byteRange struct{ offset, length int64 }

// requestedRange evaluates Range and If-Range against a representation of size bytes (RFC 9110 section
// 14.2). ok is false when the whole is to be sent: without Range, with several, with a malformed one, or
// with an If-Range that names another version. satisfiable is false for a 416.
func (v validators) requestedRange(h http.Header, size int64) (part byteRange, ok, satisfiable bool) {
	given, present := h["Range"]
	if !present || len(given) != 1 {
		return byteRange{}, false, true
	}
	unit, spec, isRange := strings.Cut(given[0], "=")
	if !isRange || !strings.EqualFold(unit, "bytes") || strings.Contains(spec, ",") || !v.ifRange(h) {
		return byteRange{}, false, true
	}
	first, last, dash := strings.Cut(textproto.TrimString(spec), "-")
	if !dash {
		return byteRange{}, false, true
	}
	if first == "" {
		n, valid := parseLength(last)
		if !valid {
			return byteRange{}, false, true
		}
		n = min(n, size)
		return byteRange{size - n, n}, true, n > 0
	}
	start, valid := parseLength(first)
	if !valid {
		return byteRange{}, false, true
	}
	end := size - 1
	if last != "" {
		given, valid := parseLength(last)
		if !valid || given < start {
			return byteRange{}, false, true
		}
		end = min(end, given)
	}
	return byteRange{start, end - start + 1}, true, start < size
}

// ifRange reports whether a Range may be honoured: If-Range is absent, or names exactly what we have.
// Only a strong tag counts, and a date only when it is the very Last-Modified (RFC 9110 section 13.1.5).
func (v validators) ifRange(h http.Header) bool {
	given, present := h["If-Range"]
	if !present {
		return true
	}
	if len(given) != 1 {
		return false
	}
	if strings.HasPrefix(given[0], `"`) {
		return v.etag != "" && given[0] == v.etag
	}
	t, err := http.ParseTime(given[0])
	return err == nil && !v.modified.IsZero() && v.modified.Truncate(time.Second).Equal(t)
}

// parseLength reads 1*DIGIT; a number too large for an int64 counts as the largest.
func parseLength(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}

func (b byteRange) contentRange(size int64) string {
	return "bytes " + strconv.FormatInt(b.offset, 10) + "-" + strconv.FormatInt(b.offset+b.length-1, 10) + "/" + strconv.FormatInt(size, 10)
}
