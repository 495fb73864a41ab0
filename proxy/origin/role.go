package origin

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/smithy-go/logging"
)

// cacheForRole makes the credential cache of sources that share a role.
func (a *AWS) cacheForRole(sources []*Source) (*credentialCache, error) {
	role := sources[0].Role
	if (role.isZero() || role.WebIdentityTokenFile == "") && a.base == nil {
		a.base = a.newCache("default credential chain", a.baseCredentials)
	}
	if role.isZero() {
		return a.base, nil
	}
	policy := ""
	if role.ScopeDown {
		if policy = sessionPolicy(partition(role.ARN), sources, false, a.usesKMS()); len(policy) > maxPolicy {
			return nil, &SourceError{
				sources[0].ID, "Role.ScopeDown",
				fmt.Sprintf("the session policy for %s takes %d characters of %d that AWS allows; the longest prefix is s3://%s", idsOf(sources), len(policy), maxPolicy, longestPrefix(sources)),
				"shorten or share prefixes, give some tilesets a role of their own, or set scope_down: false",
			}
		}
	}
	duration := cmp.Or(role.Duration, time.Hour)
	session := cmp.Or(role.SessionName, "tilegate")
	return a.newCache("role "+a.roleName(role), func(ctx context.Context) (aws.Credentials, error) {
		return a.assume(ctx, a.base.RetrieveLate, role, session, policy, duration)
	}), nil
}

func (a *AWS) newCache(name string, fetch func(context.Context) (aws.Credentials, error)) *credentialCache {
	c := newCredentialCache(name, fetch, a.opt.Logger, func(name string, err error) { a.opt.Observe.Refresh(name, err == nil) })
	a.caches = append(a.caches, c)
	return c
}

// roleName is the last part of the role's ARN, numbered where another role has the same. It is fit for a
// metric's label and for /ready.
func (a *AWS) roleName(r Role) string {
	name := path.Base(r.ARN)
	unique := name
	for n := 2; slices.ContainsFunc(a.caches, func(c *credentialCache) bool { return c.name == "role "+unique }); n++ {
		unique = fmt.Sprintf("%s (%d)", name, n)
	}
	return unique
}

// lacksSTS reports whether S3 is another service's while no STS of it is known. AWS's own STS knows nothing of
// that service's users.
func (a *AWS) lacksSTS() bool {
	return a.s3.Options().BaseEndpoint != nil && a.sts.Options().BaseEndpoint == nil
}

// usesKMS reports whether objects may be encrypted with a KMS key. Only AWS's own S3 decrypts with KMS, and
// MinIO refuses a policy that names it.
func (a *AWS) usesKMS() bool { return a.s3.Options().BaseEndpoint == nil }

// baseCredentials reads the SDK's chain anew at each call: environment, shared files, SSO, container and
// instance metadata. It caches nothing, as the credentialCache does that; so a change by an operator counts.
// https://docs.aws.amazon.com/sdkref/latest/guide/standardized-credentials.html
func (a *AWS) baseCredentials(ctx context.Context) (aws.Credentials, error) {
	if a.opt.Base != nil {
		return a.opt.Base(ctx)
	}
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(a.opt.Region), config.WithLogger(logging.Nop{}))
	if err != nil {
		return aws.Credentials{}, &fault{class: tile.ErrNoCredentials, text: sanitize(err.Error(), nil)}
	}
	creds, err := cfg.Credentials.Retrieve(ctx)
	if err != nil {
		return creds, &fault{
			class: tile.ErrNoCredentials, text: sanitize(rootCause(err).Error(), nil),
			hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine or pod a role",
		}
	}
	return creds, nil
}
