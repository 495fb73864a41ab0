package auth

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf8"
)

const (
	maxToken = 8 << 10 // bytes of a token in compact serialization
	maxDepth = 16      // nesting of its JSON
)

// jws is a compact JWS (RFC 7515 section 7.1) that has been parsed and not yet verified.
type jws struct {
	alg, kid  string
	hasKID    bool
	signed    string // header.payload, what the signature is over
	payload   []byte
	signature []byte
}

// parseJWS applies to the envelope everything that needs no key, since golang-jwt alone accepts
// what RFC 7515 and RFC 8725 refuse: an unknown crit, b64, duplicate members, lenient base64url.
func parseJWS(token string) (*jws, error) {
	if len(token) > maxToken {
		return nil, malformed("longer than 8 KiB")
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
	members, err := parseObject(header)
	if err != nil {
		return nil, malformed("its header is not one strict JSON object")
	}
	j := &jws{signed: signed, payload: payload, signature: signature}
	return j, j.readHeader(members)
}

// readHeader takes alg and kid, and refuses what would change how the token is verified (crit,
// b64: RFC 7515 section 4.1.11, RFC 7797) or would let it bring its own key (RFC 8725 section 3.5).
func (j *jws) readHeader(members map[string]any) error {
	for _, name := range [...]string{"crit", "b64", "jwk", "jku", "x5u", "x5c"} {
		if _, ok := members[name]; ok {
			return malformed("its header has a member that is not accepted (" + name + ")")
		}
	}
	var ok bool
	if j.alg, ok = members["alg"].(string); !ok {
		return malformed("its header has no alg")
	}
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
		if !strings.EqualFold(s, "JWT") && !strings.EqualFold(s, "at+jwt") && !strings.EqualFold(s, "application/at+jwt") {
			return malformed("its typ is neither JWT nor at+jwt")
		}
	}
	return nil
}

// decodeBase64 is base64url of RFC 7515 section 2: no padding, no line breaks, which
// encoding/base64 skips, and no stray bits at the end, so that one text has one encoding.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errJSON
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}

var errJSON = errors.New("not strict JSON")

// parseObject reads one JSON object (RFC 8259) as I-JSON (RFC 7493) would have it: valid UTF-8,
// no lone surrogates, no member twice at any depth, nothing after it, and nesting to maxDepth.
// Numbers stay json.Number.
func parseObject(data []byte) (map[string]any, error) {
	// json.Valid judges the grammar as a whole, the decoder below only gathers.
	if !utf8.Valid(data) || !json.Valid(data) || hasLoneSurrogate(data) {
		return nil, errJSON
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	value, err := parseValue(d, 0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errJSON
	}
	return object, nil
}

func parseValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if err != nil || depth > maxDepth {
		return nil, errJSON
	}
	switch token {
	case json.Delim('{'):
		object := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, errJSON
			}
			key, _ := name.(string)
			if _, twice := object[key]; twice {
				return nil, errJSON
			}
			if object[key], err = parseValue(d, depth+1); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return object, err
	case json.Delim('['):
		array := []any{}
		for d.More() {
			value, err := parseValue(d, depth+1)
			if err != nil {
				return nil, err
			}
			array = append(array, value)
		}
		_, err := d.Token()
		return array, err
	}
	return token, nil
}

// hasLoneSurrogate finds \ud800 to \udfff that form no pair: encoding/json turns each into
// U+FFFD, which would make two names one. data must be valid JSON, so a backslash is in a string.
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
