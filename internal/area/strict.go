package area

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of a document.
const maxDepth = 16

// strictJSON checks that a document is JSON (RFC 8259) of which nothing can be read in two ways
// (RFC 7493): valid UTF-8, and no member twice in any object. The functions below rely on it.
func strictJSON(data []byte) (string, error) {
	if !utf8.Valid(data) {
		return "", errors.New("the document is not UTF-8")
	}
	if !json.Valid(data) {
		var syntax *json.SyntaxError
		if err := json.Unmarshal(data, new(any)); errors.As(err, &syntax) {
			return "", fmt.Errorf("the document is not JSON: %w, at byte %d", syntax, syntax.Offset)
		}
		return "", errors.New("the document is not JSON")
	}
	text := string(bytes.TrimSpace(data))
	c := cursor{text: text}
	return text, c.check(0)
}

// cursor reads a text that is known to be JSON.
type cursor struct {
	text string
	at   int
}

// next skips white space and returns the byte that follows it.
func (c *cursor) next() byte {
	for strings.IndexByte(" \t\r\n", c.text[c.at]) >= 0 {
		c.at++
	}
	return c.text[c.at]
}

// check skips a value, all of whose objects must have members of different names.
func (c *cursor) check(depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("the document is nested deeper than %d levels", maxDepth)
	}
	switch c.next() {
	case '{':
		names := map[string]bool{}
		for c.at++; c.next() != '}'; {
			name := c.name()
			if names[name] {
				return fmt.Errorf("the document has the member %.40q twice in one object", name)
			}
			names[name] = true
			if err := c.check(depth + 1); err != nil {
				return err
			}
		}
		c.at++
	case '[':
		for c.at++; c.next() != ']'; {
			c.comma()
			if err := c.check(depth + 1); err != nil {
				return err
			}
		}
		c.at++
	default:
		c.scalar()
	}
	return nil
}

func (c *cursor) comma() {
	if c.next() == ',' {
		c.at++
		c.next()
	}
}

// name reads the name of an object's next member, and the colon.
func (c *cursor) name() string {
	c.comma()
	name := unquote(c.scalar())
	c.next()
	c.at++
	return name
}

// scalar reads a string, a number, true, false or null.
func (c *cursor) scalar() string {
	begin := c.at
	if c.text[begin] != '"' {
		for c.at < len(c.text) && strings.IndexByte(",:]} \t\r\n", c.text[c.at]) < 0 {
			c.at++
		}
		return c.text[begin:c.at]
	}
	for c.at++; c.text[c.at] != '"'; c.at++ {
		if c.text[c.at] == '\\' {
			c.at++
		}
	}
	c.at++
	return c.text[begin:c.at]
}

// value reads any value.
func (c *cursor) value() string {
	c.next()
	begin := c.at
	for depth := 0; ; {
		switch c.text[c.at] {
		case '{', '[':
			depth++
			c.at++
		case '}', ']':
			depth--
			c.at++
		case ' ', '\t', '\r', '\n', ',', ':':
			c.at++
		default:
			c.scalar()
		}
		if depth == 0 {
			return c.text[begin:c.at]
		}
	}
}

// members of an object, with their values as they are written.
func members(object string) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		c := cursor{text: object, at: 1}
		for c.next() != '}' {
			if !yield(c.name(), c.value()) {
				return
			}
		}
	}
}

// unquote is the string that a value is, or nothing.
func unquote(value string) (s string) {
	if value == "" || value[0] != '"' {
		return ""
	}
	if strings.IndexByte(value, '\\') < 0 {
		return value[1 : len(value)-1]
	}
	if err := json.Unmarshal([]byte(value), &s); err != nil {
		return ""
	}
	return s
}

// array calls each for the elements of an array, of which there must be one, to read them.
func (c *cursor) array(path string, each func(i int) error) error {
	if c.next() != '[' {
		return fmt.Errorf("%s is not an array", path)
	}
	c.at++
	if c.next() == ']' {
		return fmt.Errorf("%s is empty", path)
	}
	for i := 0; c.next() != ']'; i++ {
		c.comma()
		if err := each(i); err != nil {
			return err
		}
	}
	c.at++
	return nil
}

var errPosition = errors.New("is not an array of two or three numbers")

// position reads a longitude, a latitude and perhaps a height, which does not matter.
func (c *cursor) position() (lon, lat float64, err error) {
	if c.next() != '[' {
		return 0, 0, errPosition
	}
	var v [3]float64
	n := 0
	for c.at++; c.next() != ']'; n++ {
		c.comma()
		text := ""
		if b := c.next(); b == '-' || b >= '0' && b <= '9' {
			text = c.scalar()
		}
		if text == "" || n == len(v) {
			return 0, 0, errPosition
		}
		if v[n], err = strconv.ParseFloat(text, 64); err != nil {
			return 0, 0, fmt.Errorf("has a number that is out of range: %.20s", text)
		}
	}
	c.at++
	switch {
	case n < 2:
		return 0, 0, errPosition
	case math.Abs(v[0]) > 180 || math.Abs(v[1]) > 90:
		return 0, 0, fmt.Errorf("is not [longitude, latitude] in degrees: [%v, %v]", v[0], v[1])
	}
	return v[0], v[1], nil
}
