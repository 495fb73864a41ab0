package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go/logging"
	"github.com/aws/smithy-go/middleware"
)

// maxTokenFile bounds a web identity token; AWS takes 20,000 characters.
const maxTokenFile = 20_000

// noticeableSkew is from where on STS's clock, and not this machine's, says when credentials expire.
const noticeableSkew = 30 * time.Second

// roleKeeper returns the keeper for sources that share a role.
func (a *AWS) roleKeeper(sources []*Source) (*keeper, error) {
	role := sources[0].Role
	if (role.zero() || role.WebIdentityTokenFile == "") && a.base == nil {
		a.base = a.newKeeper("default credential chain", a.baseCredentials)
	}
	if role.zero() {
		return a.base, nil
	}
	if a.foreignSTS() {
		return nil, fmt.Errorf("%s: aws.endpoint is not AWS's, so a role needs aws.sts_endpoint, too "+
			"(often the same URL; https://sts.REGION.amazonaws.com when it leads to S3 after all)", ids(sources))
	}
	policy := ""
	if role.ScopeDown {
		var err error
		if policy, err = sessionPolicy(partition(role.ARN), sources, false, a.kms()); err != nil {
			return nil, err
		}
	}
	duration := cmp.Or(role.Duration, time.Hour)
	session := cmp.Or(role.SessionName, "tilegate")
	return a.newKeeper("role "+a.roleName(role), func(ctx context.Context) (aws.Credentials, error) {
		return a.assume(ctx, a.base.first, role, session, policy, duration)
	}), nil
}

func (a *AWS) newKeeper(name string, fetch func(context.Context) (aws.Credentials, error)) *keeper {
	k := newKeeper(name, fetch, a.opt.Logger, func(name string, err error) { a.opt.Observe.Refresh(name, err == nil) })
	a.keepers = append(a.keepers, k)
	return k
}

// roleName is the last part of the role's ARN: fit for a metric's label and for /ready.
func (a *AWS) roleName(r Role) string {
	name := path.Base(r.ARN)
	unique := name
	for n := 2; slices.ContainsFunc(a.keepers, func(k *keeper) bool { return k.name == "role "+unique }); n++ {
		unique = fmt.Sprintf("%s (%d)", name, n)
	}
	return unique
}

// foreignSTS: S3 is not AWS's, and STS would be.
func (a *AWS) foreignSTS() bool {
	return a.s3.Options().BaseEndpoint != nil && a.sts.Options().BaseEndpoint == nil
}

// kms: only AWS's own S3 decrypts with KMS, and MinIO refuses a policy that names it.
func (a *AWS) kms() bool { return a.s3.Options().BaseEndpoint == nil }

// baseCredentials reads the SDK's chain anew each time: environment, shared files, SSO, container and
// instance metadata. Nothing of it is cached, as the keeper does that; what an operator changed is seen.
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
func (a *AWS) baseCredentials(ctx context.Context) (aws.Credentials, error) {
	if a.opt.Base != nil {
		return a.opt.Base(ctx)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(a.opt.Region), config.WithLogger(logging.Nop{}))
	if err != nil {
		return aws.Credentials{}, &fault{class: tile.ErrNoCredentials, text: plain(err.Error(), nil)}
	}
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return creds, &fault{
			class: tile.ErrNoCredentials, text: plain(rootCause(err).Error(), nil),
			hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine or pod a role",
		}
	}
	return creds, nil
}

// provider is a keeper's Retrieve or first, as who waits is patient or not.
type provider func(context.Context) (credentials, error)

// assume asks STS, once more when the first answer corrects the clock. policy "" is none.
func (a *AWS) assume(ctx context.Context, from provider, role Role, session, policy string, d time.Duration) (aws.Credentials, error) {
	ask := func() (aws.Credentials, error) { return a.assumeRole(ctx, from, role, session, policy, d) }
	if role.WebIdentityTokenFile != "" {
		ask = func() (aws.Credentials, error) { return a.assumeRoleWithWebIdentity(ctx, role, session, policy, d) }
	}
	creds, err := ask()
	var f *fault
	if errors.As(err, &f) && f.remedy == newSignature {
		creds, err = ask()
	}
	return creds, err
}

func (a *AWS) assumeRole(ctx context.Context, from provider, role Role, session, policy string, d time.Duration) (aws.Credentials, error) {
	base, err := from(ctx)
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
	out, err := a.sts.AssumeRole(signWith(ctx, base.Credentials), in)
	if err != nil {
		f := stsFault(ctx, err, assumeRoleHints, base.SecretAccessKey, base.SessionToken)
		if f.remedy == newCredentials {
			a.base.refused(base)
		}
		return aws.Credentials{}, f
	}
	return issued(out.Credentials, out.ResultMetadata, "AssumeRole "+role.ARN), nil
}

// assumeRoleWithWebIdentity proves who this is by a token that the platform keeps fresh in a file, and
// needs no AWS credentials before.
func (a *AWS) assumeRoleWithWebIdentity(ctx context.Context, role Role, session, policy string, d time.Duration) (aws.Credentials, error) {
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
	out, err := a.sts.AssumeRoleWithWebIdentity(ctx, in)
	if err != nil {
		return aws.Credentials{}, stsFault(ctx, err, webIdentityHints, *in.WebIdentityToken)
	}
	return issued(out.Credentials, out.ResultMetadata, "AssumeRoleWithWebIdentity "+role.ARN), nil
}

// issued takes an answer's credentials. Where the clocks differ, their expiry is put into this machine's
// time: what matters is how long they live.
func issued(c *types.Credentials, answer middleware.Metadata, source string) aws.Credentials {
	if c == nil {
		return aws.Credentials{}
	}
	expires := aws.ToTime(c.Expiration)
	if skew, ok := awsmiddleware.GetAttemptSkew(answer); ok && skew.Abs() >= noticeableSkew {
		expires = expires.Add(-skew)
	}
	return aws.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: aws.ToString(c.SecretAccessKey), SessionToken: aws.ToString(c.SessionToken),
		Source: source, CanExpire: true, Expires: expires,
	}
}

// hints say what to do about STS's errors, by code.
type hints map[string]string

// stsHints are those of both calls.
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

// stsFault has no hint of S3's, which would lead astray.
func stsFault(ctx context.Context, err error, call hints, secrets ...string) *fault {
	f := classify(ctx, err, secrets...)
	f.class = tile.ErrNoCredentials
	if ctx.Err() != nil {
		f.text = "no answer in time"
	}
	f.text = "STS: " + f.text
	f.hint = cmp.Or(call[f.code], stsHints[f.code])
	var host *net.DNSError
	if errors.As(err, &host) && host.IsNotFound {
		f.hint = "look at aws.region and aws.sts_endpoint"
	}
	return f
}

func seconds(d time.Duration) *int32 { return aws.Int32(int32(d / time.Second)) }

// optional is nil for "".
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
