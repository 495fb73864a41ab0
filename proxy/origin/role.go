package origin

import (
	"cmp"
	"context"
	"fmt"
	"path"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// cacheForRole makes the credential cache of sources that share a role.
func (st *store) cacheForRole(sources []*Source) (*credentialCache, error) {
	if st.Anonymous {
		return anonymousCredentials(), nil
	}
	role := sources[0].Role
	if (role.isZero() || role.WebIdentityTokenFile == "") && st.base == nil {
		st.base = st.aws.newCache(st.baseName(), st.baseCredentials)
	}
	if role.isZero() {
		return st.base, nil
	}
	policy := ""
	if role.ScopeDown {
		if policy = sessionPolicy(partition(role.ARN), sources, false, st.usesKMS()); len(policy) > maxPolicy {
			return nil, &SourceError{
				sources[0].ID, "Role.ScopeDown",
				fmt.Sprintf("the session policy for %s takes %d characters of %d that AWS allows; the longest prefix is s3://%s", idsOf(sources), len(policy), maxPolicy, longestPrefix(sources)),
				"shorten or share prefixes, give some tilesets a role of their own, or set scope_down: false",
			}
		}
	}
	duration := cmp.Or(role.Duration, time.Hour)
	session := cmp.Or(role.SessionName, "tilegate")
	return st.aws.newCache("role "+st.aws.roleName(role), func(ctx context.Context) (aws.Credentials, error) {
		return st.assume(ctx, st.base.RetrieveLate, role, session, policy, duration)
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

// baseName is the name of the base credentials, fit for a metric's label and for /ready.
func (st *store) baseName() string {
	switch {
	case st.Profile != "":
		return st.qualified("profile " + st.Profile)
	case st.AccessKeyID != "":
		return st.qualified("configured keys")
	}
	return st.qualified("default credential chain")
}
