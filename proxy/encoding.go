package proxy

import (
	"strconv"
	"strings"
)

// accepts reports whether Accept-Encoding allows a coding (RFC 9110 section 12.5.3). Without the field a
// client accepts everything in theory and cannot decode in practice, so absence means no, as in nginx and
// Apache.
func accepts(fields []string, wanted string) bool {
	others := false // what "*" says of codings that are not listed
	for _, field := range fields {
		for coding := range strings.SplitSeq(field, ",") {
			name, params, _ := strings.Cut(coding, ";")
			name = strings.TrimSpace(name)
			switch {
			case strings.EqualFold(name, wanted), wanted == "gzip" && strings.EqualFold(name, "x-gzip"):
				return quality(params) > 0
			case name == "*":
				others = quality(params) > 0
			}
		}
	}
	return others
}

// quality reads the q of one listed coding, 1 when absent and 0 when malformed.
func quality(params string) float64 {
	for param := range strings.SplitSeq(params, ";") {
		name, value, ok := strings.Cut(strings.TrimSpace(param), "=")
		if !ok || !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || q < 0 || q > 1 {
			return 0
		}
		return q
	}
	return 1
}
