package auth

import (
	"maps"
	"slices"
	"strings"
)

// roles are what the entries of the tilesets claim stand for where an issuer has roles. Only the roles that
// are configured grant anything: an entry that is none of them is unknown, even if it is "*" or the id of a
// tileset, since whoever may name a group would grant it otherwise.
type roles map[string]Limits

// matching returns those of the roles that a claim names, in the order of their names. Roles come as an
// array, as text between spaces or commas, or as the names of an object's members (Zitadel). within is the
// prefix of entries that are not for us, because they are scopes that name tilesets; "" if there are none.
func (r roles) matching(path claimPath, value any, scopePrefix string, ignoreUnknown bool) ([]Limits, error) {
	names, err := roleNames(path, value)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for i, name := range names {
		switch _, known := r[name]; {
		case known:
			found[name] = true
		case scopePrefix != "" && strings.HasPrefix(name, scopePrefix):
		case !ignoreUnknown:
			return nil, refused(entryText(path, i) + " is none of the roles that are configured for this issuer")
		}
	}
	var limits []Limits
	for _, name := range slices.Sorted(maps.Keys(found)) {
		limits = append(limits, r[name])
	}
	return limits, nil
}

func roleNames(path claimPath, value any) ([]string, error) {
	switch v := value.(type) {
	case string:
		return strings.FieldsFunc(v, func(c rune) bool { return c == ' ' || c == ',' }), nil
	case []any:
		return stringArray(path, v)
	case map[string]any:
		var names []string
		for name, held := range v {
			switch held := held.(type) {
			case map[string]any:
				names = append(names, name)
			case bool:
				if held { // {"admin": false} says that the user is no admin
					names = append(names, name)
				}
			case nil:
			default:
				return nil, refused("the tilesets claim (" + path.text + ") is an object, whose members must be objects or booleans, and one is " + typeName(held))
			}
		}
		slices.Sort(names)
		return names, nil
	}
	return nil, refused("the tilesets claim (" + path.text + ") must be an array of roles, text with spaces or commas between them, or an object, not " + typeName(value))
}
