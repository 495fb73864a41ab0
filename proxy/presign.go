package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"tilegate/internal/tile"
)

// File is a single private object, handed out as a presigned URL.
type File struct {
	ID      string
	Presign func(ctx context.Context) (tile.Signed, error)
}

// presignedAnswer is what /presign and /files answer.
type presignedAnswer struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

// presignTile answers GET /presign/{tileset}/{z}/{x}/{y}.
func (p *Proxy) presignTile(x *exchange, r *http.Request, rest string) error {
	want, ok := parseTilePath(rest)
	if !ok || want.tileset == "" || r.URL.RawPath != "" {
		return errBadPath
	}
	ts := p.named(want)
	if err := p.authorizeViewer(x, r, ts, want, ""); err != nil {
		return err
	}
	if ts.Presign == nil || !ts.offers(want) {
		return errNotFound
	}
	if !ts.covers(want.z, want.x, want.y) {
		return tile.ErrMissing
	}
	signed, err := ts.Presign(r.Context(), ts.key(want))
	if err != nil {
		return err
	}
	return writeSigned(x, r, signed)
}

// presignFile answers GET /files/{id}/url.
func (p *Proxy) presignFile(x *exchange, r *http.Request, rest string) error {
	id, ok := strings.CutSuffix(rest, "/url")
	if !ok || !tile.ValidID(id) || r.URL.RawPath != "" {
		return errNotFound
	}
	grant, err := p.auth.Authenticate(r, "")
	if err != nil {
		return err
	}
	x.grant = grant
	if !grant.AdmitsFile(id) {
		return errForbidden
	}
	file, ok := p.files[id]
	if !ok {
		return errNotFound
	}
	signed, err := file.Presign(r.Context())
	if err != nil {
		return err
	}
	return writeSigned(x, r, signed)
}

// writeSigned tells the URL, or sends the caller there. The caller, and nobody else, may keep the
// answer for as long as it would be the same.
func writeSigned(x *exchange, r *http.Request, s tile.Signed) error {
	h := x.Header()
	if keep := min(s.Constant, time.Until(s.Expires)); keep >= time.Second {
		h["Cache-Control"] = []string{fmt.Sprintf("private, max-age=%d", int(keep.Seconds()))}
	}
	switch redirect := r.URL.Query()["redirect"]; {
	case len(redirect) == 0:
		return writeJSON(x, r, http.StatusOK, presignedAnswer{s.URL, seconds(s.Expires)})
	case len(redirect) == 1 && redirect[0] == "1":
		h["Location"] = []string{s.URL}
		x.WriteHeader(http.StatusFound)
		return nil
	default:
		return refuse(http.StatusBadRequest, "The only value that redirect may have is 1.")
	}
}

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

// vendCredentials gives the caller temporary AWS credentials of its own, for what reads S3 by itself.
func (p *Proxy) vendCredentials(x *exchange, r *http.Request) error {
	if err := p.fromOwnPages(r); err != nil {
		return err
	}
	grant, err := p.auth.Authenticate(r, "")
	if err != nil {
		return err
	}
	x.grant = grant
	if p.vend == nil {
		return errNotFound
	}
	if !grant.WholeTilesets() {
		return refuse(http.StatusForbidden, "S3 cannot enforce a zoom range or a bounding box, and your grant has one.")
	}
	var ids []string
	for _, ts := range p.catalogue {
		if ts.Vend && grant.AdmitsTileset(ts.ID) {
			ids = append(ids, ts.ID)
		}
	}
	if ids == nil {
		return errForbidden
	}
	credentials, err := p.vend(r.Context(), grant.Subject, ids, grant.Expires)
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
