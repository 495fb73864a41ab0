package auth

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	defaultMaxToken   = 8 << 10 // bytes of a token in compact serialization
	greatestMaxToken  = 32 << 10
	maxDepth          = 16      // nesting of any JSON
	maxTokenValues    = 1 << 10 // values in a token's header or payload, which anybody may send
	maxDocumentValues = 1 << 14 // values in a key set
)

// jws is a compact JWS (RFC 7515 section 7.1) that has been parsed and not yet verified.
type jws struct {
	alg, kid  string
	hasKID    bool
	signed    string // header.payload, what the signature is over
	payload   []byte
	signature []byte
}

// parseJWS makes every check of the envelope that needs no key. golang-jwt accepts what RFC 7515 and RFC
// 8725 refuse: an unknown crit, b64, duplicate members, lenient base64url.
func parseJWS(token string, limit int) (*jws, error) {
	if len(token) > limit {
		return nil, tooLong(limit)
	}
	if token == "" {
		return nil, malformed("it is empty")
	}
	if strings.Count(token, ".") != 2 {
		return nil, malformed("not three segments")
	}
	dot := strings.LastIndexByte(token, '.')
	signed := token[:dot]
	header64, payload64, _ := strings.Cut(signed, ".")
	header, err1 := decodeBase64(header64)
	payload, err2 := decodeBase64(payload64)
	signature, err3 := decodeBase64(token[dot+1:])
	if err1 != nil || err2 != nil || err3 != nil {
		return nil, malformed("not base64url without padding")
	}
	if len(signature) == 0 {
		return nil, malformed("not signed")
	}
	members, err := parseObject(header, maxTokenValues)
	if err != nil {
		return nil, malformed("its header is not one strict JSON object")
	}
	j := &jws{signed: signed, payload: payload, signature: signature}
	return j, j.readHeader(members)
}

func tooLong(limit int) error { return malformed(fmt.Sprintf("longer than %d KiB", limit>>10)) }

// readHeader reads alg and kid. It refuses members that change how the token is verified (crit, b64: RFC
// 7515 section 4.1.11, RFC 7797). Those that bring a key, or say where one is (jwk, jku, x5c, x5u), are
// ignored whatever they hold, as RFC 7515 section 4.1 lets one do: keys come from the configuration alone.
func (j *jws) readHeader(members map[string]any) error {
	for _, name := range [...]string{"crit", "b64"} {
		if _, ok := members[name]; ok {
			return malformed("its header has a member that is not accepted (" + name + ")")
		}
	}
	var ok bool
	if j.alg, ok = members["alg"].(string); !ok {
		return malformed("its header has no alg")
	}
	j.alg = canonicalAlgorithm(j.alg)
	if kid, present := members["kid"]; present {
		if j.kid, ok = kid.(string); !ok || j.kid == "" {
			return malformed("its kid is not a string")
		}
		j.hasKID = true
	}
	if typ, present := members["typ"]; present {
		s, _ := typ.(string)
		// Media types: case does not matter, and "application/" may be left out (RFC 7515 section
		// 4.1.9, RFC 9068 section 2.1).
		s = strings.TrimPrefix(strings.ToLower(s), "application/")
		if s != "jwt" && s != "at+jwt" {
			return malformed("its typ is neither JWT nor at+jwt")
		}
	}
	return nil
}

// decodeBase64 decodes base64url as in RFC 7515 section 2: without padding, without line breaks, which
// encoding/base64 skips, and without stray bits at the end, so that each text has one encoding.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errJSON
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

var errJSON = errors.New("not strict JSON")

// ParseObject reads one JSON object strictly, for callers to whom an ambiguous one is a security hole: valid
// UTF-8, no member twice at any depth, nothing after it, at most 16 levels and 16,384 values. Values are
// those of encoding/json, with json.Number for numbers.
func ParseObject(data []byte) (map[string]any, error) { return parseObject(data, maxDocumentValues) }

// parseObject reads one JSON object (RFC 8259) as I-JSON (RFC 7493) would have it: valid UTF-8,
// no lone surrogates, no member twice at any depth, nothing after it, nesting to maxDepth, and a bounded
// number of values. Values are those of encoding/json with json.Number for numbers.
func parseObject(data []byte, values int) (map[string]any, error) {
	if !utf8.Valid(data) || !json.Valid(data) {
		return nil, errJSON
	}
	w := walker{text: string(data), left: values}
	object, ok := w.value(0).(map[string]any)
	if !ok || w.failed {
		return nil, errJSON
	}
	return object, nil
}

// walker reads the values of a text that json.Valid has accepted. The decoder of encoding/json would
// allocate six times for each number, in anybody's token, and keep the last of two equal members.
type walker struct {
	text   string
	at     int
	left   int  // values that may still come
	failed bool // a member twice, a lone surrogate, nested too deep, or too much of it
}

// next skips white space and returns the byte after it.
func (w *walker) next() byte {
	for strings.IndexByte(" \t\r\n", w.text[w.at]) >= 0 {
		w.at++
	}
	return w.text[w.at]
}

func (w *walker) value(depth int) any {
	w.left--
	w.failed = w.failed || w.left < 0 || depth > maxDepth
	if w.failed {
		return nil
	}
	switch w.next() {
	case '{':
		object := map[string]any{}
		for w.at++; w.next() != '}'; {
			if w.text[w.at] == ',' {
				w.at++
				w.next()
			}
			name := w.string()
			w.next()
			w.at++ // the colon
			_, twice := object[name]
			w.failed = w.failed || twice
			if object[name] = w.value(depth + 1); w.failed {
				return nil
			}
		}
		w.at++
		return object
	case '[':
		array := []any{}
		for w.at++; w.next() != ']'; {
			if w.text[w.at] == ',' {
				w.at++
			}
			if array = append(array, w.value(depth+1)); w.failed {
				return nil
			}
		}
		w.at++
		return array
	case '"':
		return w.string()
	}
	rest := w.text[w.at:]
	if end := strings.IndexAny(rest, ",]} \t\r\n"); end >= 0 {
		rest = rest[:end]
	}
	w.at += len(rest)
	switch rest {
	case "true":
		return true
	case "false":
		return false
	case "null":
		return nil
	}
	return json.Number(rest)
}

func (w *walker) string() string {
	begin, escaped := w.at, false
	for w.at++; w.text[w.at] != '"'; w.at++ {
		if w.text[w.at] == '\\' {
			escaped = true
			w.at++
		}
	}
	w.at++
	if !escaped {
		return w.text[begin+1 : w.at-1]
	}
	raw := []byte(w.text[begin:w.at])
	var s string
	if hasLoneSurrogate(raw) || json.Unmarshal(raw, &s) != nil {
		w.failed = true
	}
	return s
}

// hasLoneSurrogate reports whether data, a valid JSON string, holds \ud800 to \udfff that form no pair.
// encoding/json turns each into U+FFFD, which would make two names equal.
func hasLoneSurrogate(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		i++
		if data[i] != 'u' {
			continue
		}
		unit := hex16(data[i+1 : i+5])
		i += 4
		switch {
		case unit >= 0xdc00 && unit < 0xe000:
			return true
		case unit >= 0xd800 && unit < 0xdc00:
			if i+6 >= len(data) || data[i+1] != '\\' || data[i+2] != 'u' {
				return true
			}
			if low := hex16(data[i+3 : i+7]); low < 0xdc00 || low >= 0xe000 {
				return true
			}
			i += 6
		}
	}
	return false
}

func hex16(digits []byte) rune {
	var n rune
	for _, c := range digits {
		n <<= 4
		switch {
		case c >= 'a':
			n |= rune(c-'a') + 10
		case c >= 'A':
			n |= rune(c-'A') + 10
		default:
			n |= rune(c - '0')
		}
	}
	return n
}
