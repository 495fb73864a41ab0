package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"tilegate/auth"
)

// Credentials are temporary ones for S3, as credential_process prints them
// (https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html).
type Credentials struct {
	Version         int       `json:"Version"`
	AccessKeyID     string    `json:"AccessKeyId"`
	SecretAccessKey string    `json:"SecretAccessKey"`
	SessionToken    string    `json:"SessionToken"`
	Expiration      time.Time `json:"Expiration"`
}

// Vend hands out credentials that open exactly the named tilesets. It names the session after subject;
// until is the latest that the caller's own grant allows. Errors: ErrNotVended, ErrTooShort, and the
// classes of package tile.
type Vend func(ctx context.Context, subject string, tilesets []string, until time.Time) (Credentials, error)

// vendCredentials gives the caller temporary AWS credentials of its own, for programs that read S3 directly.
func (p *Proxy) vendCredentials(x *exchange, r *http.Request) error {
	if err := p.fromOwnPages(r); err != nil {
		return err
	}
	grant, err := p.caller(x, r, "")
	if err != nil {
		return err
	}
	if grant.Kind == auth.Key { // AWS would not ask where the requests come from, nor whether the key is revoked
		return auth.ErrWrongKind
	}
	if p.opt.Vend == nil {
		return errNotFound
	}
	if !grant.WholeTilesets() {
		return refuse(http.StatusForbidden, "S3 cannot enforce a zoom range, a bounding box or an area, and your grant has one.")
	}
	var ids []string
	for _, ts := range p.catalogue {
		if ts.Vend && grant.AdmitsTileset(ts.ID) {
			ids = append(ids, ts.ID)
		}
	}
	if ids == nil {
		return p.forbidden(func() string { return "no tileset with vend: true is granted: " + grant.Explain() })
	}
	credentials, err := p.opt.Vend(r.Context(), grant.Subject, ids, grant.Expires)
	if errors.Is(err, ErrNotVended) {
		return fmt.Errorf("%w: %w", refuse(http.StatusForbidden, "No one set of credentials can open all of these tilesets and nothing else."), err)
	}
	if errors.Is(err, ErrTooShort) {
		return refuse(http.StatusForbidden, "AWS issues credentials for 15 minutes at least, and your own expires before.")
	}
	if err != nil {
		return err
	}
	return writeJSON(x, r, http.StatusOK, credentials)
}

// ErrNotVended is what a Vend answers when no one set of credentials can open just these tilesets.
var ErrNotVended = errors.New("no credentials for just these tilesets")

// ErrTooShort is what a Vend answers when the caller's grant ends before any credentials could.
var ErrTooShort = errors.New("grant ends before the shortest life that AWS gives credentials")
