package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

const (
	// maxStyling is how many styles are rewritten at once. Each takes three times maxStyle at most, outside of the cache's
	// budget.
	maxStyling = 4
	// headLength is how much of an object is read to learn how long it is and how it is encoded, in bytes.
	headLength = 512
)

// asset answers GET and HEAD of an object of a bundle. pathToken is the token in the path, rest what follows /assets/.
func (p *Proxy) asset(x *exchange, r *http.Request, rest, pathToken string) error {
	x.what = "object"
	x.pathToken = pathToken != ""
	x.Set("X-Content-Type-Options", nosniff)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET, HEAD")
	}
	b, path, edge, err := p.admitAsset(x, r, rest, pathToken, p.authorizeBundle)
	if err != nil {
		return err
	}
	if activeTypes[assetExtension(path)] {
		if !b.Active {
			return errActive
		}
		x.Set("Content-Security-Policy", sandbox)
	}
	err = p.serveAsset(x, r, b, edge, path, pathToken)
	if fonts, _ := fontStack(path); errors.Is(err, tile.ErrMissing) {
		for _, font := range fonts {
			if err = p.serveAsset(x, r, b, edge, font, pathToken); !errors.Is(err, tile.ErrMissing) {
				break
			}
		}
	}
	if errors.Is(err, tile.ErrMissing) && x.Status() == 0 {
		return p.writeMissing(x, r, b.tileset, edge)
	}
	return err
}

var errActive = refuse(http.StatusForbidden, "Pages, SVG and scripts are not served from this bundle: the operator has not set active: true.")

// admitAsset parses the path of an object and decides whether it may be seen, as authorize says.
func (p *Proxy) admitAsset(x *exchange, r *http.Request, rest, pathToken string, authorize bundleDecision) (b *bundle, path string, edge bool, err error) {
	id, path, ok := parseAssetPath(r.URL, pathToken, rest)
	if !ok {
		return nil, "", false, errBadAsset
	}
	if _, ok := fontStack(path); !ok {
		return nil, "", false, errBadAsset
	}
	if b, edge, err = authorize(x, r, id, pathToken); err != nil {
		return nil, "", false, err
	}
	if len(b.Prefix)+len(path) > maxObjectKey {
		return nil, "", false, errBadAsset
	}
	return b, path, edge, nil
}

// serveAsset sends an object, or returns tile.ErrMissing.
func (p *Proxy) serveAsset(x *exchange, r *http.Request, b *bundle, edge bool, path, pathToken string) error {
	if sent, err := p.servePart(x, r, b, edge, path); sent || err != nil {
		return err
	}
	t, status, err := p.opt.Cache.Get(r.Context(), b.key(path), b.Freshness, b.fetcher)
	x.outcome = outcomeOf(status.State)
	if errors.Is(err, tile.ErrMissing) {
		x.Set(statusHeader, p.hits.value(status))
		return tile.ErrMissing
	}
	if err != nil {
		return notFetched(err)
	}
	defer t.Close()
	if assetExtension(path) == "json" {
		if sent, err := p.serveStyle(x, r, b, path, pathToken, t, status); sent || err != nil {
			return err
		}
	}
	return p.writeTile(x, r, b.tileset, edge, t, status)
}

// servePart answers a Range of an object that is too large to be kept: S3 is asked for just these bytes. sent is false where
// the object has to be served as a whole, or cut here.
func (p *Proxy) servePart(x *exchange, r *http.Request, b *bundle, edge bool, path string) (sent bool, err error) {
	if r.Method != http.MethodGet || len(r.Header["Range"]) != 1 || b.FetchPart == nil {
		return false, nil
	}
	sent, err = p.tryPart(x, r, b, edge, path, b.Freshness)
	if errors.Is(err, errOutdated) && x.Status() == 0 {
		// What was known of the object is outdated. The zero policy asks S3 again.
		sent, err = p.tryPart(x, r, b, edge, path, tilecache.Policy{})
	}
	return sent, err
}

func (p *Proxy) tryPart(x *exchange, r *http.Request, b *bundle, edge bool, path string, fresh tilecache.Policy) (sent bool, err error) {
	key := b.key(path + "\x00facts")
	fresh.MissingFor = fresh.Fresh // an absence here says that the object is small
	facts, status, err := p.opt.Cache.Get(r.Context(), key, fresh, func(ctx context.Context, _ tile.Key, _ tile.Condition) (*tile.Object, error) {
		return p.facts(ctx, b, path)
	})
	if err != nil {
		return false, nil //nolint:nilerr // serving the whole finds out what is wrong, or that nothing is
	}
	defer facts.Close()
	var size int64
	if _, err := fmt.Sscan(facts.Header().Get("Content-Length"), &size); err != nil {
		return false, nil
	}
	have := validators{facts.ETag(), facts.LastModified()}
	if coding := facts.Encoding(); coding != "" && !accepts(r.Header["Accept-Encoding"], coding) {
		return false, nil
	}
	if have.preconditionFailed(r.Header) || have.notModified(r.Header) {
		return false, nil // which needs none of the object's bytes, and is decided in one place
	}
	part, ranged, satisfiable := have.requestedRange(r.Header, size)
	if !ranged {
		return false, nil
	}
	if !satisfiable {
		return false, &rangeError{size}
	}
	name := fmt.Sprintf("%s\x00part %x", path, sha256.Sum256(fmt.Appendf(nil, "%s %d %d", facts.ETag(), part.offset, part.length)))
	etag := facts.ETag()
	t, _, err := p.opt.Cache.Get(r.Context(), b.key(name), forever, func(ctx context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
		o, err := b.FetchPart(ctx, b.key(path), part.offset, part.length, tile.Condition{IfMatch: etag, Offset: cond.Offset})
		switch {
		case errors.Is(err, tile.ErrMissing):
			return nil, errOutdated // it was there
		case errors.Is(err, tile.ErrChanged) && cond.Offset == 0:
			return nil, errOutdated
		case err != nil:
			return nil, err
		case o.Size != part.length || o.Total != size:
			_ = o.Body.Close()
			return nil, errOutdated
		}
		o.Encoding = ""
		return o, nil
	})
	x.outcome = outcomeOf(status.State)
	if errors.Is(err, errOutdated) {
		return false, notFetched(err)
	}
	if err != nil {
		return false, notFetched(err)
	}
	defer t.Close()
	if coding := facts.Encoding(); coding != "" {
		varyByEncoding(x)
		x.Set("Content-Encoding", passedOn[coding])
	}
	x.Set("Cache-Control", b.tileset.cacheControl)
	x.Set(statusHeader, p.hits.value(status))
	if edge {
		b.tileset.setSharedHeaders(x)
	}
	x.Set("Accept-Ranges", acceptRanges)
	x.Set("Etag", []string{etag})
	if modified := facts.Header()["Last-Modified"]; modified != nil {
		x.Set("Last-Modified", modified)
	}
	x.Set("Content-Type", facts.Header()["Content-Type"])
	x.Set("Content-Range", []string{part.contentRange(size)})
	x.Set("Content-Length", []string{formatLength(part.length)})
	return true, p.copyTile(x, r, t, http.StatusPartialContent, byteRange{0, part.length})
}

// errOutdated says that an object is another one than what was known of it.
var errOutdated = errors.New("the object has been replaced")

// forever is the freshness of what cannot change, since its key names the bytes.
var forever = tilecache.Policy{Fresh: math.MaxInt64, MissingFor: math.MaxInt64}

// facts asks for the first bytes of an object. The answer has its header and no body. It is ErrMissing if parts of the object are to be
// cut out of the whole: because the object is small enough to be kept, or because it has no strong ETag, which shows that two
// parts belong to one object.
func (p *Proxy) facts(ctx context.Context, b *bundle, path string) (*tile.Object, error) {
	o, err := b.FetchPart(ctx, b.key(path), 0, headLength, tile.Condition{})
	if err != nil {
		return nil, err
	}
	head, err := io.ReadAll(io.LimitReader(o.Body, headLength))
	_ = o.Body.Close()
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", tile.ErrUnreachable, err)
	case o.Total <= p.opt.Cache.MaxObject() || !tile.StrongETag(o.ETag):
		return nil, tile.ErrMissing
	}
	if err := b.describe(o, b.key(path), head); err != nil {
		return nil, err
	}
	o.Header["Content-Length"] = []string{formatLength(o.Total)}
	o.Body, o.Size = http.NoBody, 0
	return o, nil
}

// serveStyle sends a style with absolute URLs. sent is false where the object is not a style. t is the object as it is
// stored.
func (p *Proxy) serveStyle(x *exchange, r *http.Request, b *bundle, path, pathToken string, t tilecache.Tile, status tilecache.Status) (sent bool, err error) {
	named := b.styles[path]
	if t.Size() > maxStyle || t.Size() < 0 {
		if named {
			return false, fmt.Errorf("%w: the style %s is larger than %d bytes, or of unknown length", tile.ErrBadAnswer, path, maxStyle)
		}
		return false, nil
	}
	base, err := p.base(r)
	if err != nil {
		return false, err
	}
	escaped := escapePath(path)
	urls := styleURLs{base: base, token: pathToken, dir: assetsPath + b.ID + "/" + escaped[:strings.LastIndexByte(escaped, '/')+1]}
	etag, isStrong := t.ETag(), t.ETag() != "" && !strings.HasPrefix(t.ETag(), "W/")
	rewrite := func(ctx context.Context, t tilecache.Tile) (*tile.Object, error) {
		if t.ETag() != etag {
			return nil, errOutdated
		}
		return p.rewritten(ctx, t, named, urls.absolute)
	}
	x.Set("Cache-Control", b.style.cacheControl)
	forThisRequest := func() (bool, error) {
		o, err := rewrite(r.Context(), t)
		if err == nil {
			err = choosePacking(x, r, o)
		}
		if errors.Is(err, tile.ErrMissing) {
			return false, nil
		}
		if err != nil {
			return false, notFetched(err)
		}
		return true, p.writeStyle(x, r, o, status)
	}
	if pathToken != "" || !isStrong {
		return forThisRequest()
	}
	key := b.key(fmt.Sprintf("%s\x00style %x", path, sha256.Sum256([]byte(etag+" "+base))))
	made, _, err := p.opt.Cache.Get(r.Context(), key, forever, func(ctx context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
		if cond.Offset > 0 {
			return nil, errOutdated // its body is in memory, and does not break off
		}
		stored, _, err := p.opt.Cache.Get(ctx, b.key(path), b.Freshness, b.fetcher)
		if err != nil {
			return nil, hideMissing(err)
		}
		defer stored.Close()
		return rewrite(ctx, stored)
	})
	switch {
	case errors.Is(err, tile.ErrMissing):
		return false, nil
	case errors.Is(err, errOutdated):
		return forThisRequest()
	case err != nil:
		return false, notFetched(err)
	}
	defer made.Close()
	return true, p.writeTile(x, r, b.style, false, made, status)
}

// hideMissing replaces ErrMissing, which means "not a style" here, for an object that has been deleted meanwhile.
func hideMissing(err error) error {
	if errors.Is(err, tile.ErrMissing) {
		return errOutdated
	}
	return err
}

// rewritten reads an object and makes the style of it that clients get. It returns tile.ErrMissing where the object is no
// style, and need not be one.
func (p *Proxy) rewritten(ctx context.Context, t tilecache.Tile, named bool, absolute func(string) string) (*tile.Object, error) {
	wait := time.NewTimer(unpackingWait)
	defer wait.Stop()
	select {
	case p.styling <- struct{}{}:
		defer func() { <-p.styling }()
	case <-wait.C:
		return nil, tilecache.ErrOverloaded
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	body, err := p.unpacked(ctx, t)
	if err == nil {
		if body, err = rewriteStyle(body, absolute); err == nil {
			sum := sha256.Sum256(body)
			etag := `"` + hex.EncodeToString(sum[:16]) + `"`
			coding := ""
			if len(body) >= leastPacked {
				body, coding = packed(body), "gzip"
			}
			return &tile.Object{
				Body: io.NopCloser(bytes.NewReader(body)), Size: int64(len(body)), ETag: etag, Encoding: coding,
				Header: http.Header{
					"Content-Type": assetTypes["json"], "Etag": {etag}, "Content-Length": {formatLength(int64(len(body)))},
				},
			}, nil
		}
	}
	switch {
	case !errors.Is(err, errNoStyle):
		return nil, err
	case named:
		return nil, fmt.Errorf("%w: the configuration calls the object a style: %w", tile.ErrBadAnswer, err)
	}
	return nil, tile.ErrMissing
}

// leastPacked is the size from which a style is worth compressing, in bytes.
const leastPacked = 512

var packers = sync.Pool{New: func() any { return gzip.NewWriter(nil) }}

// packed compresses a style by gzip.
func packed(body []byte) []byte {
	var b bytes.Buffer
	w := packers.Get().(*gzip.Writer) //nolint:forcetypeassert // the pool holds nothing else
	defer packers.Put(w)
	w.Reset(&b)
	_, _ = w.Write(body) // a bytes.Buffer takes all
	_ = w.Close()
	return b.Bytes()
}

// choosePacking sets the header of a style that was made for one request, and unpacks it for a client that does not accept
// gzip. Its ETags are those that the style has when it comes out of the cache.
func choosePacking(x *exchange, r *http.Request, o *tile.Object) error {
	if o.Encoding == "" {
		return nil
	}
	varyByEncoding(x)
	if accepts(r.Header["Accept-Encoding"], o.Encoding) {
		x.Set("Content-Encoding", passedOn[o.Encoding])
		return nil
	}
	unzipped, err := gzip.NewReader(o.Body)
	if err != nil {
		return fmt.Errorf("unpack a style: %w", err)
	}
	body, err := io.ReadAll(io.LimitReader(unzipped, 2*maxStyle)) // what absolute URLs add is far less
	if err != nil {
		return fmt.Errorf("unpack a style: %w", err)
	}
	o.Body, o.Size, o.ETag = io.NopCloser(bytes.NewReader(body)), int64(len(body)), unpackedTag(o.ETag)
	o.Header["Etag"], o.Header["Content-Length"] = []string{o.ETag}, []string{formatLength(o.Size)}
	return nil
}

// unpacked returns the bytes of an object, without its coding. More than maxStyle of them, or some that are not in the
// coding, are errNoStyle.
func (p *Proxy) unpacked(ctx context.Context, t tilecache.Tile) ([]byte, error) {
	source := &tileReader{ctx: ctx, tile: t}
	reader, release := io.Reader(source), func() {}
	if coding := t.Encoding(); coding != "" {
		var err error
		if reader, release, err = p.openUnpacker(ctx, coding, source); err != nil {
			if errors.Is(err, tile.ErrBadAnswer) {
				return nil, fmt.Errorf("%w: %w", errNoStyle, err)
			}
			return nil, err
		}
	}
	defer release()
	body, err := io.ReadAll(io.LimitReader(reader, maxStyle+1))
	switch {
	case source.err != nil && !errors.Is(source.err, io.EOF):
		return nil, source.err
	case err != nil:
		return nil, fmt.Errorf("%w: %w", errNoStyle, err)
	case len(body) > maxStyle:
		return nil, fmt.Errorf("%w: it is larger than %d bytes", errNoStyle, maxStyle)
	}
	return body, nil
}

// writeStyle sends a style that was made for one request.
func (p *Proxy) writeStyle(x *exchange, r *http.Request, o *tile.Object, status tilecache.Status) error {
	x.Set(statusHeader, p.hits.value(status))
	have := validators{etag: o.ETag}
	x.Set("Etag", o.Header["Etag"])
	if have.preconditionFailed(r.Header) {
		return refuse(http.StatusPreconditionFailed, "The style has changed: it no longer meets the request's conditions.")
	}
	if have.notModified(r.Header) {
		x.WriteHeader(http.StatusNotModified)
		return nil
	}
	x.Set("Content-Type", o.Header["Content-Type"])
	x.Set("Content-Length", o.Header["Content-Length"])
	x.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	buffer := unpackBuffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer unpackBuffers.Put(buffer)
	for {
		n, err := o.Body.Read(buffer[:])
		if n > 0 {
			x.ExtendDeadline(time.Now())
			if _, err := x.Write(buffer[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// escapePath escapes the segments of a path for a URL.
func escapePath(path string) string {
	segments := strings.Split(path, "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	return strings.Join(segments, "/")
}
