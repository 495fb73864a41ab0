package proxy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tilegate/tilecache"
)

// Origin is where one tileset's tiles come from.
type Origin interface {
	// Fetch asks for a tile's object. Its errors are tilecache.ErrMissing, ErrNotModified and ErrChanged,
	// or wrap one of this package's classes.
	Fetch(ctx context.Context, key tilecache.Key, cond tilecache.Condition) (*tilecache.Object, error)
}

// Tileset is one private pyramid and how it is served.
type Tileset struct {
	ID           string // [a-z0-9][a-z0-9_-]{0,63}
	Default      bool   // also served as /tiles/{z}/{x}/{y}
	Version      string // names the data's generation; part of the cache key
	Format       string // png, jpg, webp, avif, mvt or json
	Scalable     bool   // the source has {scale}: "@2x" means something
	MinZoom      uint8
	MaxZoom      uint8
	Bounds       [4]float64 // west, south, east, north in degrees
	Name         string
	Attribution  string
	VectorLayers json.RawMessage  // as TileJSON has them; nil for none
	Missing      string           // 404, 204 or transparent; "" is 404
	Browser      string           // strict, balanced, immutable or a literal Cache-Control; "" is balanced
	Freshness    tilecache.Policy // how long tiles and absences are believed
	Public       bool             // no token needed
	Vend         bool             // POST /credentials may hand out credentials for it
	Origin       Origin
}

// tileset is a Tileset made ready: every header value that does not depend on the request exists once.
type tileset struct {
	Tileset
	format                        *format
	minX, minY, maxX, maxY        float64 // the bounds in the unit square of Web Mercator, y down
	contentType                   []string
	cacheControl                  []string
	missingCacheControl           []string
	sharedCacheControl            []string
	missingSharedCacheControl     []string
	cdnCacheControl, surrogateKey []string
	missingCDNCacheControl        []string
	resourcePolicy                []string
	metrics                       tilesetMetrics
	fetcher                       tilecache.Fetch // fetch, bound once
}

// format is what a tileset's tiles are.
type format struct {
	extension string
	mediaType string
	vector    bool
	begins    func(head []byte) bool // nil where anything that is not markup may begin one
}

var formats = map[string]*format{
	"png": {extension: "png", mediaType: "image/png", begins: magic("\x89PNG\r\n\x1a\n")},
	"jpg": {extension: "jpg", mediaType: "image/jpeg", begins: magic("\xff\xd8\xff")},
	"webp": {extension: "webp", mediaType: "image/webp", begins: func(b []byte) bool {
		return len(b) >= 12 && string(b[:4]) == "RIFF" && string(b[8:12]) == "WEBP"
	}},
	"avif": {extension: "avif", mediaType: "image/avif", begins: func(b []byte) bool {
		return len(b) >= 8 && string(b[4:8]) == "ftyp"
	}},
	"mvt":  {extension: "mvt", mediaType: "application/vnd.mapbox-vector-tile", vector: true},
	"json": {extension: "json", mediaType: "application/json"},
}

func magic(prefix string) func([]byte) bool {
	return func(head []byte) bool { return strings.HasPrefix(string(head), prefix) }
}

// sniffLength is how many bytes of an object are looked at before any of it is sent.
const sniffLength = 16

// contradiction names what the first bytes of an object are where they cannot be a tile of this
// format: the error document of a store that answers 200, or another format altogether. What it
// does not recognise it lets pass: it guards against wrong answers, not against odd pictures.
func (f *format) contradiction(head []byte) string {
	if f.begins != nil && f.begins(head) {
		return ""
	}
	for name, other := range formats {
		if other != f && other.begins != nil && other.begins(head) {
			return name
		}
	}
	text := strings.TrimLeft(strings.TrimPrefix(string(head), "\ufeff"), " \t\r\n")
	switch lower := strings.ToLower(text); {
	case strings.HasPrefix(lower, "<?xml"), strings.HasPrefix(lower, "<error"):
		return "XML"
	case strings.HasPrefix(lower, "<!doctype"), strings.HasPrefix(lower, "<html"):
		return "HTML"
	case f.extension != "json" && strings.HasPrefix(text, `{"`):
		return "JSON"
	}
	return ""
}

// fetch asks the tileset's origin and looks at the answer before anybody else does: what the object
// is stored as, whether it can be a tile of this set at all, and the header values that every client
// of it will get.
func (ts *tileset) fetch(ctx context.Context, key tilecache.Key, cond tilecache.Condition) (*tilecache.Object, error) {
	if cond.Offset > 0 {
		o, err := ts.Origin.Fetch(ctx, key, cond)
		if err == nil {
			o.Encoding = "" // its first bytes tell, and those have been looked at
		}
		return o, err
	}
	o, body, head, err := ts.open(ctx, key, cond)
	if err != nil {
		return nil, err
	}
	switch o.Encoding {
	case "", "identity", "gzip":
		// Metadata get lost and go wrong; a gzip stream always begins so (RFC 1952 section 2.3.1).
		o.Encoding = ""
		if len(head) >= 2 && head[0] == 0x1f && head[1] == 0x8b {
			o.Encoding = "gzip"
		}
	default:
		_ = o.Body.Close()
		return nil, fmt.Errorf("%w: stored with Content-Encoding %q; only gzip is understood", ErrBadAnswer, o.Encoding)
	}
	if o.Encoding == "" {
		if what := ts.format.contradiction(head); what != "" {
			_ = o.Body.Close()
			return nil, fmt.Errorf("%w: the object begins like %s, but the tileset's format is %s", ErrBadAnswer, what, ts.format.extension)
		}
	}
	o.Body = struct {
		io.Reader
		io.Closer
	}{body, o.Body}
	o.Header = http.Header{}
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

// open fetches an object and shows its first bytes. A body that breaks off within them cannot be judged, and
// must not be resumed unjudged: it is fetched once more.
func (ts *tileset) open(ctx context.Context, key tilecache.Key, cond tilecache.Condition) (o *tilecache.Object, body *bufio.Reader, head []byte, err error) {
	for range 2 {
		if o, err = ts.Origin.Fetch(ctx, key, cond); err != nil {
			return nil, nil, nil, err
		}
		body = bufio.NewReaderSize(o.Body, 512)
		head, err = body.Peek(sniffLength)
		if n := int64(len(head)); err == nil || n == o.Size || o.Size < 0 && errors.Is(err, io.EOF) {
			return o, body, head, nil
		}
		_ = o.Body.Close()
		if errors.Is(err, io.EOF) {
			err = ErrUnreachable
		}
		err = fmt.Errorf("the body broke off at byte %d of %d: %w", len(head), o.Size, err)
		if ctx.Err() != nil || errors.Is(err, ErrTimeout) {
			break
		}
	}
	return nil, nil, nil, err
}

func formatLength(n int64) string { return strconv.FormatInt(n, 10) }

// prepare checks a tileset and makes its constant header values.
func (p *Proxy) prepare(t Tileset, o *Options) (*tileset, error) {
	f := formats[t.Format]
	if !isID(t.ID) || f == nil || t.Origin == nil || t.MinZoom > t.MaxZoom || t.MaxZoom > maxZoom {
		return nil, fmt.Errorf("tileset %q: its id, format %q, zooms %d-%d or origin will not do", t.ID, t.Format, t.MinZoom, t.MaxZoom)
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
	if t.Bounds[0] >= t.Bounds[2] || t.Bounds[1] >= t.Bounds[3] {
		return nil, errors.New("tileset " + t.ID + ": its bounds are empty")
	}
	browser := browserCacheControl(t.Browser)
	absent := fmt.Sprintf("private, max-age=%d", int(t.Freshness.MissingFor.Seconds()))
	one := func(s string) []string { return []string{s} }
	maxAge := func(d time.Duration) []string { return one(fmt.Sprintf("max-age=%d", int(d.Seconds()))) }
	ts := &tileset{
		Tileset:                   t,
		format:                    f,
		contentType:               one(f.mediaType),
		cacheControl:              one(browser),
		missingCacheControl:       one(absent),
		sharedCacheControl:        one(sharedCacheControl(browser, o.Edge.TTL)),
		missingSharedCacheControl: one(sharedCacheControl(absent, t.Freshness.MissingFor)),
		cdnCacheControl:           maxAge(o.Edge.TTL),
		missingCDNCacheControl:    maxAge(t.Freshness.MissingFor),
		surrogateKey:              one("tileset-" + t.ID),
		resourcePolicy:            p.cors.resourcePolicy(t.Public),
		metrics:                   p.metrics.tileset(t.ID),
	}
	ts.fetcher = ts.fetch
	ts.minX, ts.minY = mercator(t.Bounds[0], t.Bounds[3])
	ts.maxX, ts.maxY = mercator(t.Bounds[2], t.Bounds[1])
	return ts, nil
}

// key names a tile's bytes in the cache. Its strings are the configuration's, not the request's.
func (ts *tileset) key(want tilePath) tilecache.Key {
	return tilecache.Key{Tileset: ts.ID, Version: ts.Version, Z: want.z, X: want.x, Y: want.y, Scale: want.scale}
}

// offers tells whether the tileset can have a tile that is spelled so: in its format, and in a scale
// that its source knows.
func (ts *tileset) offers(want tilePath) bool {
	return (want.ext == "" || want.ext == ts.format.extension) && (want.scale == 1 || ts.Scalable)
}

// covers tells whether a tile lies within the tileset's zooms and shares area with its bounds.
// Outside them absence is proven without asking.
func (ts *tileset) covers(z uint8, x, y uint32) bool {
	if z < ts.MinZoom || z > ts.MaxZoom {
		return false
	}
	side := math.Ldexp(1, -int(z))
	west, north := float64(x)*side, float64(y)*side
	return west < ts.maxX && west+side > ts.minX && north < ts.maxY && north+side > ts.minY
}

// mercator projects degrees into the unit square of Web Mercator, y down (EPSG:3857). The rim that
// people round to (85.0511) counts as the whole square, so that it cuts off no row of tiles.
func mercator(lon, lat float64) (x, y float64) {
	x = (lon + 180) / 360
	switch {
	case lat >= 85.0511:
		return x, 0
	case lat <= -85.0511:
		return x, 1
	}
	s := math.Sin(lat * math.Pi / 180)
	return x, 0.5 - math.Log((1+s)/(1-s))/(4*math.Pi)
}

// TileAt is the column and row of the tile that shows a place, in degrees.
func TileAt(z uint8, lon, lat float64) (x, y uint32) {
	mx, my := mercator(lon, lat)
	side := math.Ldexp(1, int(z))
	clamp := func(v float64) uint32 { return uint32(min(max(v*side, 0), side-1)) }
	return clamp(mx), clamp(my)
}
