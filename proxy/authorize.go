package proxy

import (
	"errors"
	"net/http"

	"tilegate/auth"
	"tilegate/internal/tile"
)

// Who may see what is decided here and nowhere else. Each function asks auth for the caller's grant and
// holds it against what the request names, before anything is looked up. What exists is told only to
// those who might see it: not granted is 403 whether or not the thing exists.

// caller verifies the credential that a request carries and notes its grant for the access log.
// pathToken is the token in the path, "" where there is none.
func (p *Proxy) caller(x *exchange, r *http.Request, pathToken string) (*auth.Grant, error) {
	grant, err := p.opt.Auth.Authenticate(r, pathToken)
	if err != nil {
		return nil, err
	}
	x.grant = grant
	return grant, nil
}

// sessionCaller is caller for the session cookie alone.
func (p *Proxy) sessionCaller(x *exchange, r *http.Request) (*auth.Grant, error) {
	grant, err := p.opt.Auth.AuthenticateSession(r)
	if err != nil {
		return nil, err
	}
	x.grant = grant
	return grant, nil
}

// authorize decides whether a tile may be seen: by a viewer, or by a CDN that checks the viewers itself.
// edge reports the latter.
func (p *Proxy) authorize(x *exchange, r *http.Request, want tilePath, pathToken string) (ts *tileset, edge bool, err error) {
	if ts = p.named(want); ts != nil && p.edge.admits(r, ts, pathToken) {
		x.tileset = ts
		return ts, true, nil
	}
	return ts, false, p.authorizeViewer(x, r, ts, want, pathToken)
}

// authorizeViewer decides for one who must bring a credential of its own, unless the tileset is public.
// ts is what the path names, nil where there is no such tileset.
func (p *Proxy) authorizeViewer(x *exchange, r *http.Request, ts *tileset, want tilePath, pathToken string) error {
	x.tileset = ts
	id := want.tileset
	if ts != nil {
		if ts.Public {
			return nil
		}
		id = ts.ID
	}
	grant, err := p.caller(x, r, pathToken)
	if err != nil {
		return err
	}
	if !grant.Admits(id, want.z, want.x, want.y) {
		return p.forbidden(func() string { return grant.ExplainTile(loggedID(id), want.z, want.x, want.y) })
	}
	if ts == nil {
		return errNotFound
	}
	return nil
}

// authorizeTileset decides for a whole tileset: a grant for any part of it will do. The grant is nil
// where the tileset is public.
func (p *Proxy) authorizeTileset(x *exchange, r *http.Request, id, pathToken string) (*tileset, *auth.Grant, error) {
	ts := p.tilesets[id]
	x.tileset = ts
	if ts != nil && ts.Public {
		return ts, nil, nil
	}
	grant, err := p.caller(x, r, pathToken)
	if err != nil {
		return nil, nil, err
	}
	if !grant.AdmitsTileset(id) {
		return nil, nil, p.forbidden(func() string { return grant.ExplainID(loggedID(id)) })
	}
	if ts == nil {
		return nil, nil, errNotFound
	}
	return ts, grant, nil
}

// authorizeArchive decides for an archive as a whole file. Its ranges hold all tiles, so that a grant with a zoom range, a
// box or an area does not open it; nor does a CDN's secret, for CDNs do not know of the path.
func (p *Proxy) authorizeArchive(x *exchange, r *http.Request, id, pathToken string) (*tileset, error) {
	ts, grant, err := p.authorizeTileset(x, r, id, pathToken)
	switch {
	case err != nil:
		return nil, err
	case ts.archived == nil || !ts.Raw:
		return nil, errNotFound
	case grant != nil && !grant.AdmitsWhole(id):
		return nil, p.forbidden(func() string { return "an archive by ranges needs the whole tileset: " + grant.ExplainPart(id) })
	}
	return ts, nil
}

// authorizeBundle decides for an object of a bundle: for a viewer, or for a CDN that checks the viewers itself. edge reports
// the latter.
func (p *Proxy) authorizeBundle(x *exchange, r *http.Request, id, pathToken string) (b *bundle, edge bool, err error) {
	if b = p.bundles[id]; b != nil && p.edge.admits(r, b.tileset, pathToken) {
		x.tileset = b.tileset
		return b, true, nil
	}
	return p.authorizeBundleViewer(x, r, id, pathToken)
}

// bundleDecision is authorizeBundle or authorizeBundleViewer.
type bundleDecision func(x *exchange, r *http.Request, id, pathToken string) (b *bundle, edge bool, err error)

// authorizeBundleViewer decides for one who must bring a credential of its own, unless the bundle is public.
func (p *Proxy) authorizeBundleViewer(x *exchange, r *http.Request, id, pathToken string) (b *bundle, edge bool, err error) {
	if b = p.bundles[id]; b != nil {
		x.tileset = b.tileset
		if b.Public {
			return b, false, nil
		}
	}
	grant, err := p.caller(x, r, pathToken)
	switch {
	case err != nil:
		return nil, false, err
	case b == nil && !grant.AdmitsBundle(id), b != nil && !b.opens(grant):
		return nil, false, p.forbidden(func() string { return explainBundle(grant, b, id) })
	case b == nil:
		return nil, false, errNotFound
	}
	return b, false, nil
}

// authorizeCatalog decides for the catalogue. The grant is nil for one who brings no credential, and may see what is
// public.
func (p *Proxy) authorizeCatalog(x *exchange, r *http.Request) (*auth.Grant, error) {
	grant, err := p.caller(x, r, "")
	if err != nil && (!errors.Is(err, auth.ErrNoCredential) || !p.anyPublic) {
		return nil, err
	}
	return grant, nil
}

// authorizeFile decides for a file, which is never public.
func (p *Proxy) authorizeFile(x *exchange, r *http.Request, id string) (File, error) {
	grant, err := p.caller(x, r, "")
	if err != nil {
		return File{}, err
	}
	if !grant.AdmitsFile(id) {
		return File{}, p.forbidden(func() string { return grant.ExplainID(tile.FilePrefix + loggedID(id)) })
	}
	file, ok := p.files[id]
	if !ok {
		return File{}, errNotFound
	}
	return file, nil
}

// forbiddenError is errForbidden with what was missing, for the log. The client is told the same for every reason.
type forbiddenError struct{ missing string }

func (e *forbiddenError) Error() string { return e.missing }
func (e *forbiddenError) Unwrap() error { return errForbidden }

// forbidden refuses what a valid credential does not grant. Where no log would show what was missing, it is not put into
// words.
func (p *Proxy) forbidden(missing func() string) error {
	if p.accessLog == nil {
		return errForbidden
	}
	return &forbiddenError{missing()}
}

// loggedID is an id from a request for the log: what is long could be a credential in the wrong place.
func loggedID(id string) string { return maskPath(id) }

// explainBundle says why a bundle, which is nil where there is none, is not open to the holder of a grant.
func explainBundle(grant *auth.Grant, b *bundle, id string) string {
	why := grant.ExplainID(tile.BundlePrefix + loggedID(id))
	if b == nil {
		return why
	}
	for _, tileset := range b.With[:min(len(b.With), maxExplained)] {
		if b.Spatial {
			why += "; " + grant.ExplainPart(tileset)
		} else {
			why += "; " + grant.ExplainID(tileset)
		}
	}
	return why
}

// maxExplained bounds the tilesets of a bundle that a refusal explains.
const maxExplained = 3
