package auth

import (
	"errors"
	"slices"
	"strconv"
	"strings"
)

// claimPath says where a claim is in a token: a name, or a JSON pointer (RFC 6901), which begins with a
// slash: /realm_access/roles.
type claimPath struct {
	text  string // as configured, in the characters of an error_description
	steps []string
}

var errPointer = errors.New(`is not a JSON pointer: in it, ~ is written ~0, and a slash within a name ~1`)

// parseClaimPath reads a claim's name, or a pointer to it.
func parseClaimPath(text string) (claimPath, error) {
	p := claimPath{text: printable(text)}
	pointer, ok := strings.CutPrefix(text, "/")
	if !ok {
		p.steps = []string{text}
		return p, nil
	}
	for step := range strings.SplitSeq(pointer, "/") {
		for i := range len(step) {
			if step[i] == '~' && (i+1 == len(step) || step[i+1] != '0' && step[i+1] != '1') {
				return claimPath{}, errPointer
			}
		}
		// In this order: ~01 stands for ~1.
		p.steps = append(p.steps, strings.ReplaceAll(strings.ReplaceAll(step, "~1", "/"), "~0", "~"))
	}
	return p, nil
}

func (p claimPath) equal(other claimPath) bool { return slices.Equal(p.steps, other.steps) }

// within reports whether p is name, or leads into it.
func (p claimPath) within(name string) bool { return p.steps[0] == name }

// lookup returns the value at p. It is absent if an object on the way has no such member, or an array no
// such element. Anything else on the way refuses the token: a restriction that cannot be reached must not
// vanish.
func (p claimPath) lookup(claims map[string]any) (value any, present bool, err error) {
	value = claims
	for i, step := range p.steps {
		switch holder := value.(type) {
		case map[string]any:
			if value, present = holder[step]; !present {
				return nil, false, nil
			}
		case []any:
			index, ok := arrayIndex(step)
			if !ok {
				return nil, false, refused(p.at(i) + " is an array, and " + printable(step) + " is no index of one")
			}
			if index >= len(holder) {
				return nil, false, nil
			}
			value = holder[index]
		default:
			return nil, false, refused(p.at(i) + " must be an object, not " + typeName(value))
		}
	}
	return value, true, nil
}

// at is the pointer to what the first n steps lead to.
func (p claimPath) at(n int) string {
	if n <= 1 {
		return printable(p.steps[0])
	}
	return "/" + printable(strings.Join(p.steps[:n], "/"))
}

// arrayIndex reads 0|[1-9][0-9]* (RFC 6901 section 4). "-", the element after the last, is none of those.
func arrayIndex(step string) (int, bool) {
	n, err := strconv.ParseUint(step, 10, 31)
	return int(n), err == nil && strconv.FormatUint(n, 10) == step
}

// typeName names the type of a JSON value with its article.
func typeName(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []any:
		return "an array"
	case map[string]any:
		return "an object"
	}
	return "a number"
}

// maxPrinted bounds what an error_description takes from a configuration or a verified token, in bytes.
const maxPrinted = 128

// printable makes text fit for an error_description (RFC 6750 section 3) and for a log.
func printable(text string) string {
	if len(text) > maxPrinted {
		text = text[:maxPrinted] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return '?'
		}
		return r
	}, text)
}
