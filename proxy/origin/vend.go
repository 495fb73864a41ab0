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
	// MinVended is the shortest life of vended credentials. STS issues none for less.
	MinVended = 15 * time.Minute
	// maxVended is the longest. AWS allows no more where the base credentials are themselves a role's.
	maxVended = time.Hour
	// maxVending bounds the calls of Vend that are under way at once for one store.
	maxVending  = 8
	vendTimeout = 10 * time.Second
)

// ErrCannotVend says that no credentials can be made for these sources and no others. Its text is for the log, as
// it may name other sources.
var ErrCannotVend = errors.New("credentials cannot be handed out")

// Vended are temporary AWS credentials for a caller's own use.
type Vended struct {
	AccessKeyID, SecretAccessKey, SessionToken string
	Expires                                    time.Time // in whole seconds
}

// String keeps the credentials out of logs.
func (Vended) String() string { return "credentials [redacted]" }

// Vend assumes the sources' role for a caller. The session is named after subject. It may read the objects of
// these sources and list their prefixes, and do nothing else. d is cut to an hour. It fails with ErrCannotVend
// for a d below MinVended, an unknown source or one without Source.Vend, sources with different roles, a source
// that overlaps with another one which is not in ids, and more sources than fit into one policy. It fails with a
// class of package tile where STS issues no credentials.
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
		if sources[i] = s.Source; s.identity() != sources[0].identity() {
			return Vended{}, fmt.Errorf("%w for %s and %s together: they are read with different roles or from different stores", ErrCannotVend, ids[0], id)
		}
		for _, other := range s.Overlaps {
			if !slices.Contains(ids, other) {
				return Vended{}, fmt.Errorf("%w for %s without %s: a policy for s3://%s/%s allows keys of both; keep them under different names before the first placeholder",
					ErrCannotVend, id, other, s.Bucket, s.keyPattern())
			}
		}
	}
	role, st := sources[0].Role, a.stores[sources[0].Store]
	policy := sessionPolicy(partition(role.ARN), sources, true, st.usesKMS())
	if len(policy) > maxPolicy {
		return Vended{}, fmt.Errorf("%w for %d tilesets at once: the policy gets too long", ErrCannotVend, len(ids))
	}
	ctx, cancel := context.WithTimeout(ctx, vendTimeout)
	defer cancel()
	select {
	case st.vendSlots <- struct{}{}:
		defer func() { <-st.vendSlots }()
	case <-ctx.Done():
		return Vended{}, fmt.Errorf("%w: too many ask for credentials", tile.ErrSlowDown)
	}
	creds, err := st.assume(ctx, st.base.Retrieve, role, sessionName(subject), policy, min(d, maxVended).Truncate(time.Second))
	var f *fault
	if errors.As(err, &f) && f.code == "PackedPolicyTooLarge" { // another try will not help
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

// sessionName is the subject in the characters that a session's name may have, [\w+=,.@-]{2,64}; CloudTrail shows
// it. Where the name differs from the subject, a part of the subject's hash keeps different subjects apart.
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
