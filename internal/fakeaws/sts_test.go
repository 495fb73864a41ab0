package fakeaws_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
)

func TestAssumeRoleRefusals(t *testing.T) {
	const otherRole = "arn:aws:iam::123456789012:role/other"
	manyTags := func(n, size int) (tags []types.Tag) {
		for i := range n {
			tags = append(tags, types.Tag{Key: aws.String("key" + strconv.Itoa(i)), Value: aws.String(strings.Repeat("v", size))})
		}
		return tags
	}
	long := func(n int) *string { // a valid policy of n characters
		head, tail := `{"Statement":{"Effect":"Allow","Action":"*","Resource":"`, `"}}`
		return aws.String(head + "arn:aws:s3:::" + strings.Repeat("x", n-len(head)-len(tail)-13) + tail)
	}
	tests := []struct {
		name   string
		in     sts.AssumeRoleInput
		status int // 0: good
		code   string
	}{
		{name: "right", in: sts.AssumeRoleInput{}},
		{name: "longest", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(7200)}},
		{name: "too long for the role", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(7201)}, status: 400, code: "ValidationError"},
		{name: "too short", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(899)}, status: 400, code: "ValidationError"},
		{name: "longer than any", in: sts.AssumeRoleInput{DurationSeconds: aws.Int32(43201)}, status: 400, code: "ValidationError"},
		{name: "no such role", in: sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/none")}, status: 403, code: "AccessDenied"},
		{name: "not trusted", in: sts.AssumeRoleInput{RoleArn: aws.String(otherRole)}, status: 403, code: "AccessDenied"},
		{name: "no external ID", in: sts.AssumeRoleInput{ExternalId: aws.String("guess")}, status: 403, code: "AccessDenied"},
		{name: "session name", in: sts.AssumeRoleInput{RoleSessionName: aws.String("a b")}, status: 400, code: "ValidationError"},
		{name: "session name of a mail address", in: sts.AssumeRoleInput{RoleSessionName: aws.String("ada+x@example.com")}},
		{name: "2048 characters of policy", in: sts.AssumeRoleInput{Policy: long(2048)}},
		{name: "2049 characters of policy", in: sts.AssumeRoleInput{Policy: long(2049)}, status: 400, code: "ValidationError"},
		{name: "policy and tags together", in: sts.AssumeRoleInput{Policy: long(1900), Tags: manyTags(2, 200)}, status: 400, code: "PackedPolicyTooLarge"},
		{name: "tags", in: sts.AssumeRoleInput{Tags: manyTags(2, 200)}},
		{name: "too many tags", in: sts.AssumeRoleInput{Tags: manyTags(51, 1)}, status: 400, code: "ValidationError"},
		{name: "tags alike", in: sts.AssumeRoleInput{Tags: append(manyTags(1, 1), types.Tag{Key: aws.String("KEY0"), Value: aws.String("")})}, status: 400, code: "InvalidParameterValue"},
		{name: "a parameter that the fake does not know", in: sts.AssumeRoleInput{SourceIdentity: aws.String("ada")}, status: 501, code: "NotImplemented"},
	}
	server := start(t)
	must(t, server.AddRole(fakeaws.Role{ARN: roleARN, Policy: readAll, TrustedUsers: []string{userKey}, ExternalID: "id", MaxDuration: 2 * time.Hour}))
	must(t, server.AddRole(fakeaws.Role{ARN: otherRole, Policy: readAll, TrustedUsers: []string{"AKIAOTHER"}}))
	client := stsClient(server, static(userKey, userSecret, ""))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := test.in
			if in.RoleArn == nil {
				in.RoleArn = aws.String(roleARN)
			}
			if in.RoleSessionName == nil {
				in.RoleSessionName = aws.String("test")
			}
			if in.ExternalId == nil {
				in.ExternalId = aws.String("id")
			}
			out, err := client.AssumeRole(t.Context(), &in)
			if test.status != 0 {
				wantRefusal(t, err, test.status, test.code)
				return
			}
			must(t, err)
			if want := "arn:aws:sts::123456789012:assumed-role/tiles-reader/" + *in.RoleSessionName; *out.AssumedRoleUser.Arn != want {
				t.Errorf("got %q, want %q", *out.AssumedRoleUser.Arn, want)
			}
		})
	}
}

func TestMaxDurationIsChecked(t *testing.T) {
	for _, d := range []time.Duration{time.Minute, 13 * time.Hour} {
		if err := start(t).AddRole(fakeaws.Role{ARN: roleARN, Policy: readAll, MaxDuration: d}); err == nil {
			t.Errorf("%v: got no error", d)
		}
	}
}

func TestRoleChaining(t *testing.T) {
	const second = "arn:aws:iam::210987654321:role/second"
	server := start(t)
	must(t, server.AddRole(fakeaws.Role{ARN: second, Policy: readAll, TrustedUsers: []string{roleARN}, MaxDuration: 12 * time.Hour}))
	client := stsClient(server, session(t, server))
	in := &sts.AssumeRoleInput{RoleArn: aws.String(second), RoleSessionName: aws.String("chained"), DurationSeconds: aws.Int32(3600)}
	out, err := client.AssumeRole(t.Context(), in)
	must(t, err)
	chained := static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
	if _, err := get(t.Context(), s3Client(server, chained), "tiles", tile); err != nil {
		t.Error(err)
	}
	in.DurationSeconds = aws.Int32(3601)
	_, err = client.AssumeRole(t.Context(), in)
	wantRefusal(t, err, http.StatusBadRequest, "ValidationError")
	_, err = stsClient(server, static(userKey, userSecret, "")).AssumeRole(t.Context(), in)
	wantRefusal(t, err, http.StatusForbidden, "AccessDenied")
}

func TestSTSRefusesWrongSignatures(t *testing.T) {
	clock := &manualClock{}
	server := start(t, func(o *fakeaws.Options) { o.Clock = clock.Now })
	tests := []struct {
		name               string
		key, secret, token string
		skew               time.Duration
		code               string
	}{
		{name: "unknown key", key: "AKIANOBODY", secret: "x", code: "InvalidClientTokenId"},
		{name: "wrong secret", key: userKey, secret: "x", code: "SignatureDoesNotMatch"},
		{name: "token without a session", key: userKey, secret: userSecret, token: "x", code: "InvalidClientTokenId"},
		{name: "slow clock", key: userKey, secret: userSecret, skew: 20 * time.Minute, code: "SignatureDoesNotMatch"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock.Advance(test.skew)
			defer clock.Advance(-test.skew)
			_, err := stsClient(server, static(test.key, test.secret, test.token)).GetCallerIdentity(t.Context(), nil)
			wantRefusal(t, err, http.StatusForbidden, test.code)
		})
	}
	for form, want := range map[string]int{
		"Action=GetCallerIdentity&Version=2011-06-15": http.StatusForbidden,
		"Action=GetSessionToken&Version=2011-06-15":   http.StatusBadRequest,
		"Action=AssumeRole&Version=2010-01-01":        http.StatusBadRequest,
		"%zz":                                         http.StatusBadRequest,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL()+"/", strings.NewReader(form))
		must(t, err)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if status, _, _ := do(t, server, r); status != want {
			t.Errorf("%s unsigned: got %d, want %d", form, status, want)
		}
	}
}

func TestAssumeRoleWithWebIdentity(t *testing.T) {
	newIssuer := func() *issuer.Issuer {
		iss, err := issuer.New(issuer.Options{URL: "https://id.example.com"})
		must(t, err)
		return iss
	}
	iss, impostor := newIssuer(), newIssuer()
	keys, err := iss.Keys()
	must(t, err)
	server := start(t)
	must(t, server.AddRole(fakeaws.Role{
		ARN: roleARN, Policy: readAll,
		WebIdentity: &fakeaws.WebIdentity{Issuer: "https://id.example.com", Audience: "sts.amazonaws.com", Keys: keys},
	}))
	const plain = "arn:aws:iam::123456789012:role/plain"
	must(t, server.AddRole(fakeaws.Role{ARN: plain, Policy: readAll}))
	tests := []struct {
		name   string
		by     *issuer.Issuer
		alg    string
		claims map[string]any
		role   string
		status int
		code   string
	}{
		{name: "RS256", by: iss, alg: "RS256"},
		{name: "ES256", by: iss, alg: "ES256"},
		{name: "an algorithm that AWS lacks", by: iss, alg: "EdDSA", status: 400, code: "InvalidIdentityToken"},
		{name: "another's signature", by: impostor, alg: "RS256", status: 400, code: "InvalidIdentityToken"},
		{name: "another audience", by: iss, alg: "RS256", claims: map[string]any{"aud": "tiles"}, status: 400, code: "InvalidIdentityToken"},
		{name: "another issuer", by: iss, alg: "RS256", claims: map[string]any{"iss": "https://evil.example.com"}, status: 400, code: "InvalidIdentityToken"},
		{name: "expired", by: iss, alg: "RS256", claims: map[string]any{"exp": time.Now().Add(-time.Second).Unix()}, status: 400, code: "ExpiredTokenException"},
		{name: "without expiry", by: iss, alg: "RS256", claims: map[string]any{"exp": nil}, status: 400, code: "InvalidIdentityToken"},
		{name: "for a role without a provider", by: iss, alg: "RS256", role: plain, status: 403, code: "AccessDenied"},
	}
	client := stsClient(server, aws.AnonymousCredentials{})
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			claims := map[string]any{"sub": "pod", "aud": "sts.amazonaws.com"}
			for name, value := range test.claims {
				claims[name] = value
			}
			token, err := test.by.Token(test.alg, claims)
			must(t, err)
			role := roleARN
			if test.role != "" {
				role = test.role
			}
			out, err := client.AssumeRoleWithWebIdentity(t.Context(), &sts.AssumeRoleWithWebIdentityInput{RoleArn: &role, RoleSessionName: aws.String("test"), WebIdentityToken: &token})
			if test.status != 0 {
				wantRefusal(t, err, test.status, test.code)
				return
			}
			must(t, err)
			if got := aws.ToString(out.SubjectFromWebIdentityToken); got != "pod" {
				t.Errorf("got subject %q, want pod", got)
			}
			session := static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken)
			if _, err := get(t.Context(), s3Client(server, session), "tiles", tile); err != nil {
				t.Error(err)
			}
		})
	}
}
