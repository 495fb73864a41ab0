package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"tilegate/internal/tile"
	"tilegate/proxy/archive"
	"tilegate/tilecache"
)

// Origin is where one tileset's tiles come from.
type Origin interface {
	// Fetch asks for a tile's object. Its errors are tile.ErrMissing, ErrNotModified and ErrChanged,
	// or wrap one of package tile's classes of failure.
	Fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error)
}

// Tileset is one pyramid of tiles, or an archive of them, and how it is served.
type Tileset struct {
	ID           string // [a-z0-9][a-z0-9_-]{0,63}
	Default      bool   // also served as /tiles/{z}/{x}/{y}
	Version      string // names the data's generation; part of the cache key
	Format       string // png, jpg, webp, avif, mvt, mlt, json, or auto for mixed images
	Scalable     bool   // the source has {scale}: "@2x" means something
	MinZoom      uint8
	MaxZoom      uint8
	Bounds       tile.Box // must not cross the antimeridian
	Name         string
	Attribution  string
	VectorLayers json.RawMessage                                              // as TileJSON has them; nil for none
	Metadata     bool                                                         // Origin may have a metadata.json that names the layers, at a key whose Path is that
	Missing      string                                                       // 404, 204 or transparent; "" is 404
	Browser      string                                                       // strict, balanced, immutable or a literal Cache-Control; "" is balanced
	Freshness    tilecache.Policy                                             // how long tiles and absences are served without asking
	Public       bool                                                         // no token needed
	Vend         bool                                                         // POST /credentials may hand out credentials for it
	Origin       Origin                                                       // where tiles come from, one by one; nil with Archive
	Archive      *archive.Archive                                             // where tiles come from that are parts of one file; nil with Origin
	Given        Given                                                        // of an archive's tileset: which of the members above count
	Raw          bool                                                         // the archive itself is served, too, by ranges
	TileSize     int                                                          // TileJSON's: pixels a side at scale 1; 0 is 256 for images, and not stated for vector tiles
	Encoding     string                                                       // TileJSON's: terrarium, mapbox or mlt; "" follows from the format
	Sparse       bool                                                         // TileJSON's: clients fill holes with what is above them
	Presign      func(ctx context.Context, key tile.Key) (tile.Signed, error) // a URL of the tile's object; nil: none is handed out
	// Behind puts a level of cache between the memory and S3: it wraps what fetches a tile and examines it. Nil: there is none.
	Behind func(tile.Fetch) tile.Fetch
	// Identity is a hash of what decides which bytes a tile has, besides Version: source, endpoint and format. It is a part of the cache's
	// key, so that no tile of an earlier configuration is served under a later one.
	Identity string
}

// tileset is a Tileset made ready: each header value that does not depend on the request is made once.
type tileset struct {
	Tileset
	archived                      *archived    // nil where each tile is an object
	keyVersion                    string       // of the cache's key
	generation                    uint64       // of the archive, once that is known; else 0
	format                        *tile.Format // nil of an archive's tileset until the archive has told it
	area                          tile.Area    // of the bounds
	contentType                   []string     // nil of format auto: the tile's header has it
	cacheControl                  []string
	missingCacheControl           []string
	sharedCacheControl            []string
	missingSharedCacheControl     []string
	cdnCacheControl, surrogateKey []string
	missingCDNCacheControl        []string
	resourcePolicy                []string
	metrics                       tilesetMetrics
	fetcher                       tile.Fetch                      // fetch, bound once
	noteOddCoding                 func(word string, key tile.Key) // logs once
	examining                     chan struct{}                   // holds one element for each decoder at work in unpackedHead
}

// fetch asks the tileset's origin, and looks at the first bytes of the answer: how the object is encoded,
// and whether it can be a tile of this format. It makes the header values that all clients of it will get.
func (ts *tileset) fetch(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	if cond.Offset > 0 {
		o, err := ts.Origin.Fetch(ctx, key, cond)
		if err == nil {
			o.Encoding = "" // the first bytes have told it
		}
		return o, err
	}
	o, body, head, err := ts.open(ctx, key, cond)
	if err != nil {
		return nil, err
	}
	if len(head) == 0 && ts.format.Image() {
		_ = o.Body.Close()
		return nil, tile.ErrMissing // what remains of an upload that failed, or a mark for "nothing here"
	}
	stated, odd, ok := storedCoding(o.Encoding)
	if !ok {
		return nil, reject(o, "stored with Content-Encoding %q; only gzip, br, zstd and deflate are understood", o.Encoding)
	}
	if odd != "" {
		ts.noteOddCoding(odd, key)
	}
	o.Encoding = actualCoding(stated, head, ts.format)
	reader, unpacked := io.Reader(body), ""
	if o.Encoding != "" {
		packed, err := body.Peek(packedHead)
		if size := packedHeadSize(o.Encoding, packed); err == nil && size > packedHead {
			body = bufio.NewReaderSize(body, size)
			packed, err = body.Peek(size)
			reader = body
		}
		head, unpacked = ts.unpackedHead(o.Encoding, packed), "unpacked, "
		if err != nil { // which a bufio.Reader tells once
			reader = io.MultiReader(bytes.NewReader(packed), failing{err})
		}
	}
	if what := ts.format.Contradiction(head); what != "" {
		return nil, reject(o, "%sthe object begins like %s, but the tileset's format is %s", unpacked, what, ts.format.Name)
	}
	o.Body = struct {
		io.Reader
		io.Closer
	}{reader, o.Body}
	o.Header = http.Header{}
	if ts.format.Auto() {
		format := ts.format.Of(head)
		if format == nil {
			return nil, reject(o, "%sthe object begins like no image", unpacked)
		}
		o.Header["Content-Type"] = []string{format.MediaType}
	}
	if o.ETag != "" {
		o.Header["Etag"] = []string{o.ETag}
	}
	if !o.LastModified.IsZero() {
		o.Header["Last-Modified"] = []string{o.LastModified.UTC().Format(http.TimeFormat)}
	}
	if o.Size >= 0 {
		o.Header["Content-Length"] = []string{formatLength(o.Size)}
	}
	return o, nil
}

// failing is a reader that has an error only.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// reject closes an object that cannot be served, and tells its origin why.
func reject(o *tile.Object, format string, args ...any) error {
	_ = o.Body.Close()
	reason := fmt.Sprintf(format, args...)
	if o.Reject != nil {
		o.Reject(reason)
	}
	return fmt.Errorf("%w: %s", tile.ErrBadAnswer, reason)
}

// open fetches an object and returns its first bytes as well. A body that breaks off within them cannot be
// examined, and must not be resumed without that: it is fetched once more.
func (ts *tileset) open(ctx context.Context, key tile.Key, cond tile.Condition) (o *tile.Object, body *bufio.Reader, head []byte, err error) {
	for range 2 {
		if o, err = ts.Origin.Fetch(ctx, key, cond); err != nil {
			return nil, nil, nil, err
		}
		body = bufio.NewReaderSize(o.Body, 512)
		head, err = body.Peek(tile.SniffLength)
		if n := int64(len(head)); err == nil || n == o.Size || o.Size < 0 && errors.Is(err, io.EOF) {
			return o, body, head, nil
		}
		_ = o.Body.Close()
		if errors.Is(err, io.EOF) {
			err = tile.ErrUnreachable
		}
		err = fmt.Errorf("the body broke off at byte %d of %d: %w", len(head), o.Size, err)
		if ctx.Err() != nil || errors.Is(err, tile.ErrTimeout) {
			break
		}
	}
	return nil, nil, nil, err
}

func formatLength(n int64) string { return strconv.FormatInt(n, 10) }

// prepare checks a tileset and makes its constant header values.
func (p *Proxy) prepare(t Tileset) (*tileset, error) {
	f := tile.FormatNamed(t.Format)
	if t.Archive != nil && t.Origin == nil {
		t.Origin = t.Archive
	} else if t.Archive != nil || f == nil {
		return nil, fmt.Errorf("tileset %q: it has an archive and an origin, or the format %q, which there is not", t.ID, t.Format)
	}
	if !tile.ValidID(t.ID) || t.Origin == nil || f == nil && t.Given.Format || !(tile.ZoomRange{Min: t.MinZoom, Max: t.MaxZoom}).Valid() {
		return nil, fmt.Errorf("tileset %q: its id, format %q, zooms %d-%d or origin is not valid", t.ID, t.Format, t.MinZoom, t.MaxZoom)
	}
	if t.Missing == "" {
		t.Missing = "404"
	}
	if _, ok := missingAnswers[t.Missing]; !ok {
		return nil, fmt.Errorf("tileset %q: missing is %q, not 404, 204 or transparent", t.ID, t.Missing)
	}
	if t.Missing == "transparent" && t.Format == "json" {
		return nil, fmt.Errorf("tileset %q: json has no transparent tile", t.ID)
	}
	if t.Bounds.Validate() != nil || t.Bounds.CrossesAntimeridian() {
		return nil, fmt.Errorf("tileset %q: its bounds have no area or cross the antimeridian", t.ID)
	}
	browser := browserCacheControl(t.Browser)
	absent := fmt.Sprintf("private, max-age=%d", int(t.Freshness.MissingFor.Seconds()))
	one := func(s string) []string { return []string{s} }
	maxAge := func(d time.Duration) []string { return one(fmt.Sprintf("max-age=%d", int(d.Seconds()))) }
	ts := &tileset{
		Tileset:                   t,
		keyVersion:                keyVersion(t.Version, t.Identity),
		area:                      tile.NewArea(&t.Bounds),
		cacheControl:              one(browser),
		missingCacheControl:       one(absent),
		sharedCacheControl:        one(sharedCacheControl(browser, p.opt.Edge.TTL)),
		missingSharedCacheControl: one(sharedCacheControl(absent, t.Freshness.MissingFor)),
		cdnCacheControl:           maxAge(p.opt.Edge.TTL),
		missingCDNCacheControl:    maxAge(t.Freshness.MissingFor),
		surrogateKey:              one(tilesetTag(t.ID)),
		resourcePolicy:            p.cors.resourcePolicy(t.Public),
		metrics:                   p.opt.Metrics.tileset(t.ID),
		examining:                 p.examining,
	}
	if t.Archive != nil {
		ts.archived = &archived{Archive: t.Archive}
	}
	if f != nil {
		ts.setFormat(f)
	}
	ts.fetcher = behind(t.Behind, ts.fetch)
	var once sync.Once
	ts.noteOddCoding = func(word string, key tile.Key) {
		once.Do(func() {
			p.opt.Logger.Warn("objects have a Content-Encoding that names no coding; it is ignored", "tileset", t.ID,
				"content_encoding", word[:min(len(word), 64)], "z", key.Z, "x", key.X, "y", key.Y)
		})
	}
	return ts, nil
}

// behind puts a level of cache before fetch, where there is one.
func behind(level func(tile.Fetch) tile.Fetch, fetch tile.Fetch) tile.Fetch {
	if level == nil {
		return fetch
	}
	return level(fetch)
}

// keyVersion is what tile.Key.Version is of a tileset or bundle.
func keyVersion(version, identity string) string {
	if identity == "" {
		return version
	}
	return version + "\x00" + identity
}

func (ts *tileset) setFormat(f *tile.Format) {
	ts.format, ts.contentType = f, nil
	if !f.Auto() {
		ts.contentType = []string{f.MediaType}
	}
}

// key names a tile's bytes in the cache. Its strings are those of the configuration, not of the request.
func (ts *tileset) key(want tilePath) tile.Key {
	return tile.Key{Tileset: ts.ID, Version: ts.keyVersion, Z: want.z, X: want.x, Y: want.y, Scale: want.scale, Generation: ts.generation}
}

// offers reports whether a path's extension is one of the tileset's format, and whether its source has the
// path's scale.
func (ts *tileset) offers(want tilePath) bool {
	if ts.format == nil { // any that an archive may turn out to have
		return (want.ext == "" || tile.FormatOf("."+want.ext) != nil) && want.scale == 1
	}
	return (want.ext == "" || ts.format.HasExtension(want.ext)) && (want.scale == 1 || ts.Scalable)
}

// otherTiles is the answer to a request for a tile that is not offered, from somebody who may see the tileset.
func (ts *tileset) otherTiles() error {
	if ts.format == nil {
		return errNotFound
	}
	return refuse(http.StatusNotFound, "The tiles of this tileset are at /tiles/"+ts.ID+"/{z}/{x}/{y}"+ts.format.Extension()+".")
}

// covers reports whether a tile lies within the tileset's zooms and shares area with its bounds.
// Outside them absence is proven without asking.
func (ts *tileset) covers(z uint8, x, y uint32) bool {
	return z >= ts.MinZoom && z <= ts.MaxZoom && ts.area.Meets(z, x, y)
}
