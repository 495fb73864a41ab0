package proxy

import (
	"context"
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
	x.usage = p.opt.Usage
	if err := p.limit(x, r); err != nil {
		return err
	}
	if ts.Presign == nil || ts.archived != nil || !ts.offers(want) {
		return errNotFound
	}
	if !ts.covers(want.z, want.x, want.y) {
		return tile.ErrMissing
	}
	x.contents = contentOf(want)
	if err := p.send(x, r, ts, false); err != nil {
		return err
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
	file, err := p.authorizeFile(x, r, id)
	if err != nil {
		return err
	}
	if err := p.limit(x, r); err != nil {
		return err
	}
	signed, err := file.Presign(r.Context())
	if err != nil {
		return err
	}
	return writeSigned(x, r, signed)
}

// writeSigned answers with the URL, or redirects to it. The caller, and no shared cache, may keep the
// answer for as long as it would be the same.
func writeSigned(x *exchange, r *http.Request, s tile.Signed) error {
	if keep := min(s.Constant, time.Until(s.Expires)); keep >= time.Second {
		x.Set("Cache-Control", []string{fmt.Sprintf("private, max-age=%d", int(keep.Seconds()))})
	}
	switch redirect := r.URL.Query()["redirect"]; {
	case len(redirect) == 0:
		return writeJSON(x, r, http.StatusOK, presignedAnswer{s.URL, seconds(s.Expires)})
	case len(redirect) == 1 && redirect[0] == "1":
		x.Set("Location", []string{s.URL})
		x.WriteHeader(http.StatusFound)
		return nil
	default:
		return refuse(http.StatusBadRequest, "The only value that redirect may have is 1.")
	}
}
