package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/middleware"
)

// maxTokenFile bounds a web identity token, in bytes. AWS takes 20,000 characters.
const maxTokenFile = 20_000

// provider returns the base credentials: Retrieve of a credentialCache, or its RetrieveLate.
type provider func(context.Context) (credentials, error)

// assume calls STS for a role's credentials, a second time where the first answer has corrected the clock. An
// empty policy is none.
func (st *store) assume(ctx context.Context, base provider, role Role, session, policy string, d time.Duration) (aws.Credentials, error) {
	call := func() (aws.Credentials, error) { return st.assumeRole(ctx, base, role, session, policy, d) }
	if role.WebIdentityTokenFile != "" {
		call = func() (aws.Credentials, error) { return st.assumeRoleWithWebIdentity(ctx, role, session, policy, d) }
	}
	creds, err := call()
	var f *fault
	if errors.As(err, &f) && f.remedy == newSignature {
		creds, err = call()
	}
	return creds, err
}

func (st *store) assumeRole(ctx context.Context, base provider, role Role, session, policy string, d time.Duration) (aws.Credentials, error) {
	creds, err := base(ctx)
	if err != nil {
		return aws.Credentials{}, err
	}
	in := &sts.AssumeRoleInput{
		RoleArn: &role.ARN, RoleSessionName: &session, DurationSeconds: seconds(d),
		Policy: optional(policy), ExternalId: optional(role.ExternalID),
	}
	for _, k := range slices.Sorted(maps.Keys(role.Tags)) {
		in.Tags = append(in.Tags, types.Tag{Key: aws.String(k), Value: aws.String(role.Tags[k])})
	}
	out, err := st.sts.AssumeRole(withCredentials(ctx, creds.Credentials), in)
	if err != nil {
		f := stsFault(ctx, err, assumeRoleHints, creds.SecretAccessKey, creds.SessionToken)
		if f.remedy == newCredentials {
			st.base.reportRejected(creds)
		}
		return aws.Credentials{}, f
	}
	return st.issued(out.Credentials, out.ResultMetadata, d, "AssumeRole "+role.ARN), nil
}

// assumeRoleWithWebIdentity needs no AWS credentials: a token proves who this is, which the platform keeps
// fresh in a file.
func (st *store) assumeRoleWithWebIdentity(ctx context.Context, role Role, session, policy string, d time.Duration) (aws.Credentials, error) {
	token, err := os.ReadFile(role.WebIdentityTokenFile)
	if err == nil && len(token) > maxTokenFile {
		err = fmt.Errorf("%s is too long for a token", role.WebIdentityTokenFile)
	}
	if err != nil {
		return aws.Credentials{}, &fault{class: tile.ErrNoCredentials, text: "web_identity_token_file: " + err.Error()}
	}
	in := &sts.AssumeRoleWithWebIdentityInput{
		RoleArn: &role.ARN, RoleSessionName: &session, DurationSeconds: seconds(d),
		Policy: optional(policy), WebIdentityToken: aws.String(strings.TrimSpace(string(token))),
	}
	out, err := st.sts.AssumeRoleWithWebIdentity(ctx, in)
	if err != nil {
		return aws.Credentials{}, stsFault(ctx, err, webIdentityHints, *in.WebIdentityToken)
	}
	return st.issued(out.Credentials, out.ResultMetadata, d, "AssumeRoleWithWebIdentity "+role.ARN), nil
}

// issued converts the credentials of an answer. Where the clocks differ, their expiry is converted to this
// machine's time, since what counts is how long they live. d is the life that was asked for.
func (st *store) issued(c *types.Credentials, answer middleware.Metadata, d time.Duration, source string) aws.Credentials {
	if c == nil {
		return aws.Credentials{}
	}
	expires := aws.ToTime(c.Expiration)
	if skew := st.skewOfSTS(expires, answer, d); skew.Abs() >= noticeableSkew {
		expires = expires.Add(-skew)
	}
	return aws.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretAccessKey), SessionToken: aws.ToString(c.SessionToken),
		Source: source, CanExpire: true, Expires: expires,
	}
}

// hints say what to do about an error of STS, by its code.
type hints map[string]string

// stsHints hold for both calls.
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html#API_AssumeRole_Errors
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRoleWithWebIdentity.html#API_AssumeRoleWithWebIdentity_Errors
var stsHints = hints{ //nolint:gosec // advice, not credentials
	"PackedPolicyTooLarge":    "the session policy and the session tags are too large once packed: shorten prefixes, drop tags, give some tilesets a role of their own, or set scope_down: false",
	"MalformedPolicyDocument": "the session policy is not understood: set scope_down: false for a service that is not AWS",
	"ValidationError":         "look at role.duration (at most the role's maximum session duration, and 1h when the base credentials are a role's own), role.arn and role.session_name",
	"RegionDisabledException": "STS is not activated in this region: activate it in the account, or set aws.sts_endpoint",
	"InvalidIdentityToken":    "the web identity token is not accepted: look at its issuer, and at the identity provider in IAM",
	"IDPRejectedClaim":        "the identity provider refuses the token: look at its audience and expiry",
	"IDPCommunicationError":   "AWS cannot reach the identity provider; it will be tried again",
	"InvalidClientTokenId":    "the base credentials are unknown to this STS: look at AWS_ACCESS_KEY_ID and aws.sts_endpoint",
	"SignatureDoesNotMatch":   "the base credentials' secret key is wrong, or this machine's clock is",
}

const baseExpired = "the base credentials have expired: whatever provides them has stopped"

var assumeRoleHints = hints{
	"AccessDenied":          "the role's trust policy must name who asks, whose own policy must allow sts:AssumeRole on the role; external_id must be the one that the trust policy wants",
	"ExpiredToken":          baseExpired,
	"ExpiredTokenException": baseExpired,
}

var webIdentityHints = hints{
	"AccessDenied":          "the role's trust policy must name the identity provider and allow sts:AssumeRoleWithWebIdentity, and its conditions must fit the token's audience and subject",
	"ExpiredTokenException": "the web identity token has expired: whatever writes the file has stopped",
}

// stsFault classifies a failed call of STS. It replaces the hint, since hints about S3 would mislead.
func stsFault(ctx context.Context, err error, call hints, secrets ...string) *fault {
	f := classify(ctx, err, secrets...)
	f.class = tile.ErrNoCredentials
	if ctx.Err() != nil {
		f.text = "no answer in time"
	}
	f.text = "STS: " + f.text
	f.hint = cmp.Or(call[f.code], stsHints[f.code])
	if f.code == "AccessDenied" && aboutBaseCredentials.MatchString(f.text) {
		f.hint = "this service takes the base credentials for wrong, or lets them assume no role: look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY first"
	}
	if hint := schemeHint(err, "aws.sts_endpoint"); hint != "" {
		f.hint = hint
	}
	if f.status == http.StatusBadRequest && (f.code == "" || f.code == "UnknownError") { // which the SDK makes of an answer without one
		f.hint = speaksTLS("aws.sts_endpoint")
	}
	var host *net.DNSError
	if errors.As(err, &host) && host.IsNotFound {
		f.hint = "look at aws.region and aws.sts_endpoint"
	}
	return f
}

// aboutBaseCredentials finds the messages of services that answer AccessDenied for a wrong secret key, too. MinIO has the second.
var aboutBaseCredentials = regexp.MustCompile(`(?i)signature|generating temporary credentials not allowed|access key`)

func seconds(d time.Duration) *int32 { return aws.Int32(int32(d / time.Second)) }

// optional returns nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
