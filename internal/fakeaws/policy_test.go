package fakeaws_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tilegate/internal/fakeaws"
)

func TestPolicies(t *testing.T) {
	read := func(resource string) string {
		return `{"Effect":"Allow","Action":"s3:GetObject","Resource":"` + resource + `"}`
	}
	document := func(statements ...string) string {
		return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
	}
	everything := document(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	tests := []struct {
		name          string
		role, session string
		get           bool // the tile, basemap/7/66/44.png
		list          bool
	}{
		{name: "everything", role: everything, get: true, list: true},
		{name: "nothing that fits", role: document(read("arn:aws:s3:::other/*"))},
		{name: "by prefix", role: document(read("arn:aws:s3:::tiles/basemap/*")), get: true},
		{name: "by another prefix", role: document(read("arn:aws:s3:::tiles/roads/*"))},
		{name: "a bucket whose name begins alike", role: document(read("arn:aws:s3:::tile/*"))},
		{name: "bucket without its objects", role: document(read("arn:aws:s3:::tiles"))},
		{name: "one character", role: document(read("arn:aws:s3:::tiles/basemap/?/66/44.png")), get: true},
		{name: "pattern within", role: document(read("arn:aws:s3:::tiles/*/44.png")), get: true},
		{name: "exact key", role: document(read("arn:aws:s3:::tiles/basemap/7/66/44.png")), get: true},
		{name: "case of the key counts", role: document(read("arn:aws:s3:::tiles/Basemap/*"))},
		{name: "case of the action does not", role: document(`{"Effect":"Allow","Action":"S3:gETobject","Resource":"*"}`), get: true},
		{name: "action by pattern", role: document(`{"Effect":"Allow","Action":["s3:Get*","s3:List?ucket"],"Resource":["*"]}`), get: true, list: true},
		{name: "deny wins", role: document(`{"Effect":"Deny","Action":"s3:GetObject","Resource":"arn:aws:s3:::tiles/basemap/7/*"}`, `{"Effect":"Allow","Action":"*","Resource":"*"}`), list: true},
		{name: "session narrows", role: everything, session: document(read("arn:aws:s3:::tiles/*")), get: true},
		{name: "session cannot widen", role: document(read("arn:aws:s3:::tiles/roads/*")), session: everything},
		{name: "session denies", role: everything, session: document(`{"Effect":"Deny","Action":"s3:*","Resource":"*"}`)},
		{name: "listing under the prefix", role: document(`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::tiles","Condition":{"StringLike":{"s3:prefix":["roads/*","basemap/*"]}}}`), list: true},
		{name: "listing under another prefix", role: document(`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::tiles","Condition":{"StringLike":{"s3:prefix":"roads/*"}}}`)},
		{name: "StringEquals knows no wildcard", role: document(`{"Effect":"Allow","Action":"s3:ListBucket","Resource":"*","Condition":{"StringEquals":{"s3:prefix":"base*"}}}`)},
		{name: "kms:Decrypt beside", role: document(read("*"), `{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{"StringLike":{"kms:ViaService":"s3.*.amazonaws.com"}}}`), get: true},
	}
	server := start(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			must(t, server.AddRole(fakeaws.Role{ARN: roleARN, Policy: test.role, TrustedUsers: []string{userKey}}))
			in := &sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("test")}
			if test.session != "" {
				in.Policy = &test.session
			}
			out, err := stsClient(server, static(userKey, userSecret, "")).AssumeRole(t.Context(), in)
			must(t, err)
			client := s3Client(server, static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken))
			_, getErr := get(t.Context(), client, "tiles", tile)
			_, listErr := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles"), Prefix: aws.String("basemap/7")})
			check := func(what string, err error, allowed bool) {
				if allowed && err != nil {
					t.Errorf("%s: got %v", what, err)
				} else if !allowed {
					wantRefusal(t, err, http.StatusForbidden, "AccessDenied")
				}
			}
			check("get", getErr, test.get)
			check("list", listErr, test.list)
		})
	}
}

func TestAUserWithoutAPolicyMayDoNothing(t *testing.T) {
	server := start(t)
	must(t, server.AddUser(fakeaws.User{AccessKeyID: "AKIANEW", SecretAccessKey: "secret"}))
	_, err := get(t.Context(), s3Client(server, static("AKIANEW", "secret", "")), "tiles", tile)
	wantRefusal(t, err, http.StatusForbidden, "AccessDenied")
}

func TestPoliciesThatAreNotUnderstoodAreRefused(t *testing.T) {
	server := start(t)
	for _, document := range []string{
		``,
		`{}`,
		`{"Statement":[]}`,
		`{"Version":"2020-01-01","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*"}}`,
		`{"Statement":{"Effect":"Allow","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","NotAction":"s3:PutObject","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","NotResource":"arn:aws:s3:::secret/*"}}`,
		`{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"GetObject","Resource":"*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"tiles/*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::tiles/${aws:username}/*"}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:PrincipalTag/a":"b"}}}}`,
		`{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}} {}`,
	} {
		if err := server.AddRole(fakeaws.Role{ARN: roleARN, Policy: document}); err == nil {
			t.Errorf("accepted %s", document)
		}
		if document == "" {
			continue
		}
		_, err := stsClient(server, static(userKey, userSecret, "")).AssumeRole(t.Context(), &sts.AssumeRoleInput{
			RoleArn: aws.String(roleARN), RoleSessionName: aws.String("test"), Policy: &document,
		})
		wantRefusal(t, err, http.StatusBadRequest, "MalformedPolicyDocument")
	}
}
