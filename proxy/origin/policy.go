package origin

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// maxPolicy is STS's limit on a session policy's characters. What STS packs of it has a limit of its own
// (PackedPolicyTooLarge), which session tags count against too.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const maxPolicy = 2048

// A policy document's members, in the order that AWS's examples have.
type (
	document struct {
		Version   string
		Statement []statement
	}
	statement struct {
		Effect    string
		Action    string
		Resource  []string
		Condition map[string]map[string][]string `json:",omitempty"`
	}
)

// sessionPolicy allows what the sources need and nothing else; it only ever narrows what the role
// allows. confined lets GetObject reach the sources' own keys and listings their prefixes alone, for
// credentials that leave the house. tilegate's own are not confined: a condition on s3:prefix never
// holds for a GetObject, which has none, and without s3:ListBucket each missing tile is a 403. kms: the
// objects may be encrypted with a KMS key; S3 uses the caller's permission then.
func sessionPolicy(partition string, sources []*Source, confined, kms bool) (string, error) {
	keys, prefixes := map[string][]string{}, map[string][]string{} // by bucket
	for _, src := range sources {
		prefixes[src.Bucket] = append(prefixes[src.Bucket], src.under())
		if confined {
			keys[src.Bucket] = append(keys[src.Bucket], src.pattern())
		}
	}
	if !confined {
		keys = prefixes
	}
	arn := "arn:" + partition + ":s3:::"
	read := statement{Effect: "Allow", Action: "s3:GetObject"}
	list := statement{Effect: "Allow", Action: "s3:ListBucket"}
	var lists []statement
	for _, bucket := range slices.Sorted(maps.Keys(keys)) {
		for _, pattern := range outermost(keys[bucket]) {
			read.Resource = append(read.Resource, arn+bucket+"/"+pattern)
		}
		list.Resource = append(list.Resource, arn+bucket)
		if !confined {
			continue
		}
		// Keys that begin with a placeholder have no prefix that shows them alone.
		within := outermost(slices.DeleteFunc(prefixes[bucket], func(prefix string) bool { return prefix == "*" }))
		if len(within) > 0 {
			lists = append(lists, statement{
				Effect: "Allow", Action: "s3:ListBucket", Resource: []string{arn + bucket},
				Condition: map[string]map[string][]string{"StringLike": {"s3:prefix": within}},
			})
		}
	}
	doc := document{Version: "2012-10-17", Statement: []statement{read}}
	if confined {
		doc.Statement = append(doc.Statement, lists...)
	} else {
		doc.Statement = append(doc.Statement, list)
	}
	if kms {
		doc.Statement = append(doc.Statement, statement{
			Effect: "Allow", Action: "kms:Decrypt", Resource: []string{"*"},
			Condition: map[string]map[string][]string{"StringLike": {"kms:ViaService": {"s3.*"}}},
		})
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return "", err
	}
	if len(text) > maxPolicy {
		return "", fmt.Errorf("the session policy for %s takes %d characters of %d that AWS allows; the longest prefix is s3://%s: "+
			"shorten or share prefixes, give some tilesets a role of their own, or set scope_down: false", ids(sources), len(text), maxPolicy, longest(sources))
	}
	return string(text), nil
}

// pattern matches a tileset's keys; what others it matches, Source.Opens tells.
func (src *Source) pattern() string {
	escaped := make([]string, len(src.Texts))
	for i, text := range src.Texts {
		escaped[i] = escape.Replace(text)
	}
	return strings.Join(escaped, "*")
}

// under matches all that begins with a tileset's prefix, or a file's one key.
func (src *Source) under() string {
	if src.isFile() {
		return escape.Replace(src.Prefix)
	}
	return escape.Replace(src.Prefix) + "*"
}

// escape is for what a policy would take for a wildcard or a variable.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
var escape = strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")

// outermost drops the patterns that another one covers.
func outermost(patterns []string) []string {
	var kept []string
	for _, pattern := range slices.Sorted(slices.Values(patterns)) { // what covers comes before what it covers
		if n := len(kept); n > 0 {
			outer, wild := strings.CutSuffix(kept[n-1], "*")
			if pattern == kept[n-1] || wild && strings.HasPrefix(pattern, outer) {
				continue
			}
		}
		kept = append(kept, pattern)
	}
	return kept
}

func ids(sources []*Source) string {
	names := make([]string, len(sources))
	for i, src := range sources {
		names[i] = src.ID
	}
	return list(names)
}

func longest(sources []*Source) string {
	src := slices.MaxFunc(sources, func(a, b *Source) int { return cmp.Compare(len(a.Prefix), len(b.Prefix)) })
	return src.Bucket + "/" + src.Prefix
}

// partition is the part of AWS that a role is in: aws, aws-cn, aws-us-gov; aws for other services' roles.
func partition(arn string) string {
	parts := strings.SplitN(arn, ":", 3)
	if len(parts) == 3 && strings.HasPrefix(parts[1], "aws") {
		return parts[1]
	}
	return "aws"
}
