package configs

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// expand replaces ${VAR} and ${VAR:-default} in one value. The default is also used for an empty variable, as
// in a shell, and $${ is a literal ${. The result is not parsed as YAML again, so no variable can add a key.
// Errors name variables, never their values.
func expand(text string, lookup func(string) (string, bool)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${")
		b.WriteString(strings.TrimSuffix(before, "$"))
		if !found {
			b.WriteString(strings.Repeat("$", len(before)-len(strings.TrimSuffix(before, "$"))))
			return b.String(), nil
		}
		if strings.HasSuffix(before, "$") {
			b.WriteString("${")
			text = rest
			continue
		}
		expression, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "", errors.New("has ${ without }; write $${ for a literal ${")
		}
		value, err := variable(expression, lookup)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		text = after
	}
}

func variable(expression string, lookup func(string) (string, bool)) (string, error) {
	name, fallback, hasFallback := strings.Cut(expression, ":-")
	if !variableName.MatchString(name) {
		return "", errors.New("has ${…} around something that is no variable's name; write ${VAR} or ${VAR:-default}")
	}
	value, ok := lookup(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !ok:
		return "", fmt.Errorf("environment variable %s is not set; set it, or write ${%s:-default}", name, name)
	}
	return value, nil
}
