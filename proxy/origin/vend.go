package origin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"
)

const (
	// MinVended is the shortest life of temporary credentials: STS's least.
	MinVended = 15 * time.Minute
	// maxVended is the longest: what AWS allows when the base credentials are themselves a role's.
	maxVended = time.Hour
	// maxVending bounds the calls to STS under way for callers.
	maxVending  = 8
	vendTimeout = 10 * time.Second
)

// ErrCannotVend says that no credentials can be made for just these sources. Its text is for the log: it may name
// others.
var ErrCannotVend = errors.New("credentials cannot be handed out")

// Vended are temporary AWS credentials for a caller's own use.
type Vended struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time // in whole seconds
}

// String keeps them out of logs.
func (Vended) String() string { return "credentials [redacted]" }

// Vend assumes the sources' role for a caller: the session is named after subject, and may do nothing
// but read the objects of these sources and list their prefixes. d is cut to an hour. Errors:
// ErrCannotVend (d under MinVended; an unknown source or one without Source.Vend; sources with different roles;
// one that opens another which is not among them; too many for one policy), and tile's classes when STS
// does not give any.
func (a *AWS) Vend(ctx context.Context, subject string, ids []string, d time.Duration) (Vended, error) {
	if d < MinVended {
		return Vended{}, fmt.Errorf("%w for less than %s", ErrCannotVend, MinVended)
	}
	if len(ids) == 0 {
		return Vended{}, fmt.Errorf("%w for nothing", ErrCannotVend)
	}
	sources := make([]*Source, len(ids))
	for i, id := range ids {
		s := a.sources[id]
		if s == nil || !s.Vend {
			return Vended{}, fmt.Errorf("%w for %q", ErrCannotVend, id)
		}
		if sources[i] = s.Source; s.Role.id() != sources[0].Role.id() {
			return Vended{}, fmt.Errorf("%w for %s and %s together: they are read with different roles", ErrCannotVend, ids[0], id)
		}
		for _, other := range s.Opens {
			if !slices.Contains(ids, other) {
				return Vended{}, fmt.Errorf("%w for %s without %s: a policy for s3://%s/%s allows keys of both; keep them under different names before the first placeholder",
					ErrCannotVend, id, other, s.Bucket, s.pattern())
			}
		}
	}
	role := sources[0].Role
	policy, err := sessionPolicy(partition(role.ARN), sources, true, a.kms())
	if err != nil {
		return Vended{}, fmt.Errorf("%w for %d tilesets at once: the policy gets too long", ErrCannotVend, len(ids))
	}
	ctx, cancel := context.WithTimeout(ctx, vendTimeout)
	defer cancel()
	select {
	case a.vending <- struct{}{}:
		defer func() { <-a.vending }()
	case <-ctx.Done():
		return Vended{}, fmt.Errorf("%w: too many ask for credentials", tile.ErrSlowDown)
	}
	creds, err := a.assume(ctx, a.base.Retrieve, role, sessionName(subject), policy, min(d, maxVended).Truncate(time.Second))
	var f *fault
	if errors.As(err, &f) && f.code == "PackedPolicyTooLarge" { // now and ever
		return Vended{}, fmt.Errorf("%w for %d tilesets at once: %s", ErrCannotVend, len(ids), f.text)
	}
	if err != nil {
		return Vended{}, err
	}
	if !creds.HasKeys() || !time.Now().Before(creds.Expires) {
		return Vended{}, fmt.Errorf("%w: STS answered with none that are valid", tile.ErrNoCredentials)
	}
	return Vended{creds.AccessKeyID, creds.SecretAccessKey, creds.SessionToken, creds.Expires.Truncate(time.Second)}, nil
}

// sessionName is the subject as CloudTrail is to show it: [\w+=,.@-]{2,64}. Where that changes it, a part of
// its hash keeps different subjects apart.
func sessionName(subject string) string {
	const most = 64
	allowed := func(r rune) rune {
		if r < 0x80 && (r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || strings.ContainsRune("_+=,.@-", r)) {
			return r
		}
		return '-'
	}
	name := strings.Map(allowed, subject)
	if name == subject && len(name) >= 2 && len(name) <= most {
		return name
	}
	hash := sha256.Sum256([]byte(subject))
	suffix := "-" + hex.EncodeToString(hash[:6])
	return name[:min(len(name), most-len(suffix))] + suffix
}
