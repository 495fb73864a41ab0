package fakeaws

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// policy is an IAM policy document: Effect, Action and Resource with wildcards, and the conditions
// StringEquals and StringLike. Anything else in a document is an error, because ignoring it would
// grant or refuse what AWS doesn't.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements.html
type policy struct{ statements []statement }

type statement struct {
	deny       bool
	actions    []string // lower case
	resources  []string
	conditions []condition
}

type condition struct {
	like   bool // StringLike, else StringEquals
	key    string
	values []string
}

// conditionKeys are those that a policy may name. A request that lacks one does not match, as on
// AWS; kms:ViaService is never there, because nothing here calls KMS.
var conditionKeys = []string{"s3:prefix", "kms:ViaService"}

func parsePolicy(document string) (*policy, error) {
	var doc struct {
		Version, ID string
		Statement   oneOrMore[struct {
			Sid, Effect      string
			Action, Resource oneOrMore[string]
			Condition        map[string]map[string]oneOrMore[string]
		}]
	}
	if err := decodeStrictly([]byte(document), &doc); err != nil {
		return nil, fmt.Errorf("policy: %w", err)
	}
	if !slices.Contains([]string{"", "2008-10-17", "2012-10-17"}, doc.Version) {
		return nil, fmt.Errorf("policy: Version %q is not 2012-10-17", doc.Version)
	}
	if len(doc.Statement) == 0 {
		return nil, errors.New("policy: no Statement")
	}
	p := &policy{}
	for i, st := range doc.Statement {
		out := statement{deny: st.Effect == "Deny", resources: st.Resource}
		switch {
		case st.Effect != "Allow" && st.Effect != "Deny":
			return nil, fmt.Errorf("policy: statement %d: Effect %q is neither Allow nor Deny", i, st.Effect)
		case len(st.Action) == 0 || len(st.Resource) == 0:
			return nil, fmt.Errorf("policy: statement %d: it needs Action and Resource", i)
		}
		for _, action := range st.Action {
			if action != "*" && !strings.Contains(action, ":") {
				return nil, fmt.Errorf("policy: statement %d: Action %q has no service, as in s3:GetObject", i, action)
			}
			out.actions = append(out.actions, strings.ToLower(action))
		}
		for _, resource := range st.Resource {
			if resource != "*" && !strings.HasPrefix(resource, "arn:") || strings.Contains(resource, "${") {
				return nil, fmt.Errorf("policy: statement %d: Resource %q is neither * nor an ARN without variables", i, resource)
			}
		}
		for operator, keys := range st.Condition {
			if operator != "StringLike" && operator != "StringEquals" {
				return nil, fmt.Errorf("policy: statement %d: Condition operator %q is not supported", i, operator)
			}
			for key, values := range keys {
				if !slices.Contains(conditionKeys, key) {
					return nil, fmt.Errorf("policy: statement %d: Condition key %q is not supported", i, key)
				}
				out.conditions = append(out.conditions, condition{operator == "StringLike", key, values})
			}
		}
		p.statements = append(p.statements, out)
	}
	return p, nil
}

// action is what a caller wants to do; prefix is s3:prefix, of a listing alone.
type action struct {
	name     string // s3:GetObject; documents may write it in any case
	resource string // ARN
	prefix   *string
}

// allowed intersects: every policy has to allow, and none may deny. No policy allows nothing.
func (who *identity) allowed(a action) bool {
	a.name = strings.ToLower(a.name)
	for _, p := range who.policies {
		if !p.allows(a) {
			return false
		}
	}
	return len(who.policies) > 0
}

func (p *policy) allows(a action) bool {
	allow := false
	for i := range p.statements {
		st := &p.statements[i]
		if !st.matches(a) {
			continue
		}
		if st.deny {
			return false
		}
		allow = true
	}
	return allow
}

func (st *statement) matches(a action) bool {
	return slices.ContainsFunc(st.actions, func(pattern string) bool { return matchWildcard(pattern, a.name) }) &&
		slices.ContainsFunc(st.resources, func(pattern string) bool { return matchWildcard(pattern, a.resource) }) &&
		!slices.ContainsFunc(st.conditions, func(c condition) bool { return !c.holds(a) })
}

func (c *condition) holds(a action) bool {
	if c.key != "s3:prefix" || a.prefix == nil {
		return false
	}
	return slices.ContainsFunc(c.values, func(want string) bool {
		return want == *a.prefix || c.like && matchWildcard(want, *a.prefix)
	})
}

// matchWildcard: * is any run of characters, slashes and none included, ? exactly one.
func matchWildcard(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0: // let the last * take one more
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// oneOrMore is an element that may be written alone or in an array.
type oneOrMore[T any] []T

func (o *oneOrMore[T]) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("[")) {
		return decodeStrictly(data, (*[]T)(o))
	}
	*o = make([]T, 1)
	return decodeStrictly(data, &(*o)[0])
}

func decodeStrictly(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}
