package origin

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// maxPolicy is STS's limit on a session policy, in characters. STS also packs the policy together with the session
// tags, and limits the result (PackedPolicyTooLarge). That limit shows only when STS is called.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
const maxPolicy = 2048

// The members of a policy document, in the order of AWS's examples.
type (
	policyDocument struct {
		Version   string
		Statement []policyStatement
	}
	policyStatement struct {
		Effect    string
		Action    string
		Resource  []string
		Condition map[string]map[string][]string `json:",omitempty"`
	}
)

// sessionPolicy returns a policy that allows what the sources need and nothing else. STS intersects it with what
// the role allows. With confined, GetObject reaches the sources' own keys alone and listings reach their prefixes
// alone: for credentials that callers get. tilegate's own credentials are not confined: a condition on s3:prefix
// never holds for a GetObject, and without s3:ListBucket each missing tile is a 403. With kms, objects may be
// encrypted with a KMS key, for which S3 needs the caller's permission. The policy may be longer than maxPolicy.
func sessionPolicy(partition string, sources []*Source, confined, kms bool) string {
	keys, prefixes := map[string][]string{}, map[string][]string{} // by bucket
	for _, src := range sources {
		if confined {
			keys[src.Bucket] = append(keys[src.Bucket], src.keyPattern())
		}
		if !confined || !src.isOneObject() { // a listing would tell the names of what lies beside the one object
			prefixes[src.Bucket] = append(prefixes[src.Bucket], src.prefixPattern())
		}
	}
	if !confined {
		keys = prefixes
	}
	read := policyStatement{Effect: "Allow", Action: "s3:GetObject"}
	list := policyStatement{Effect: "Allow", Action: "s3:ListBucket"}
	var lists []policyStatement
	for _, bucket := range slices.Sorted(maps.Keys(keys)) {
		for _, pattern := range outermost(keys[bucket]) {
			read.Resource = append(read.Resource, objectARN(partition, bucket)+pattern)
		}
		list.Resource = append(list.Resource, bucketARN(partition, bucket))
		if !confined {
			continue
		}
		// Keys that begin with a placeholder have no prefix, and the whole bucket must not be listed.
		within := outermost(slices.DeleteFunc(prefixes[bucket], func(prefix string) bool { return prefix == "*" }))
		if len(within) > 0 {
			lists = append(lists, policyStatement{
				Effect: "Allow", Action: "s3:ListBucket", Resource: []string{bucketARN(partition, bucket)},
				Condition: map[string]map[string][]string{"StringLike": {"s3:prefix": within}},
			})
		}
	}
	doc := policyDocument{Version: "2012-10-17", Statement: []policyStatement{read}}
	if confined {
		doc.Statement = append(doc.Statement, lists...)
	} else {
		doc.Statement = append(doc.Statement, list)
	}
	if kms {
		doc.Statement = append(doc.Statement, policyStatement{
			Effect: "Allow", Action: "kms:Decrypt", Resource: []string{"*"},
			Condition: map[string]map[string][]string{"StringLike": {"kms:ViaService": {"s3.*"}}},
		})
	}
	text, _ := json.Marshal(doc) // strings always marshal
	return string(text)
}

// bucketARN is the ARN of a bucket, or of the access point in its stead.
func bucketARN(partition, bucket string) string {
	if strings.HasPrefix(bucket, "arn:") {
		return bucket
	}
	return "arn:" + partition + ":s3:::" + bucket
}

// objectARN is the beginning of the ARNs of a bucket's objects.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-policies.html
func objectARN(partition, bucket string) string {
	if strings.HasPrefix(bucket, "arn:") {
		return bucket + "/object/"
	}
	return bucketARN(partition, bucket) + "/"
}

// keyPattern matches all keys of a tileset. Source.Overlaps names the other sources that it matches.
func (src *Source) keyPattern() string {
	escaped := make([]string, len(src.Literals))
	for i, literal := range src.Literals {
		escaped[i] = escape.Replace(literal)
	}
	return strings.Join(escaped, "*")
}

// prefixPattern matches all keys that begin with a tileset's prefix, or the one key of a file or an archive.
func (src *Source) prefixPattern() string {
	if src.isOneObject() {
		return escape.Replace(src.Prefix)
	}
	return escape.Replace(src.Prefix) + "*"
}

// escape replaces characters that a policy would take for a wildcard or a variable.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html
var escape = strings.NewReplacer("*", "${*}", "?", "${?}", "$", "${$}")

// outermost drops the patterns that another pattern covers.
func outermost(patterns []string) []string {
	var kept []string
	for _, pattern := range slices.Sorted(slices.Values(patterns)) { // a pattern is sorted before those that it covers
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

func idsOf(sources []*Source) string {
	ids := make([]string, len(sources))
	for i, src := range sources {
		ids[i] = src.ID
	}
	return nameSome(ids)
}

func longestPrefix(sources []*Source) string {
	src := slices.MaxFunc(sources, func(a, b *Source) int { return cmp.Compare(len(a.Prefix), len(b.Prefix)) })
	return src.Bucket + "/" + src.Prefix
}

// partition is the part of AWS that a role belongs to: aws, aws-cn or aws-us-gov. It is aws for roles of other
// services.
func partition(arn string) string {
	parts := strings.SplitN(arn, ":", 3)
	if len(parts) == 3 && strings.HasPrefix(parts[1], "aws") {
		return parts[1]
	}
	return "aws"
}
