package proxy_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/area"
	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy"
	"tilegate/proxy/archive"
)

// bucketFile is an archive in a bucket in the test's hands, and what it was asked.
type bucketFile struct {
	mu      sync.Mutex
	body    []byte // nil: there is none
	version int
	asked   []string // ranges
	reasons []string // of rejections
	before  func(n int) error
	breakAt int // where bodies break off; 0: they do not, -1: before their first byte
}

func (f *bucketFile) put(b []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.body, f.version = b, f.version+1
}

func (f *bucketFile) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

func (f *bucketFile) rejections() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.reasons)
}

func (f *bucketFile) onRequest(before func(n int) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.before = before
}

func (f *bucketFile) read(ctx context.Context, first, length int64, cond tile.Condition) (*tile.Object, error) {
	f.mu.Lock()
	f.asked = append(f.asked, fmt.Sprintf("%d+%d", first+cond.Offset, length-cond.Offset))
	before, n := f.before, len(f.asked)
	f.mu.Unlock()
	if before != nil {
		if err := before(n); err != nil {
			return nil, err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	etag, modified := fmt.Sprintf(`"file-%d"`, f.version), noon.Add(time.Duration(f.version)*time.Minute).Truncate(time.Second)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case f.body == nil:
		return nil, tile.ErrMissing
	case cond.IfMatch != "" && cond.IfMatch != etag:
		return nil, tile.ErrChanged
	case cond.IfNoneMatch != "" && cond.IfNoneMatch == etag:
		return nil, tile.ErrNotModified
	case first+cond.Offset >= int64(len(f.body)):
		return nil, fmt.Errorf("%w: 416", tile.ErrBadAnswer)
	}
	part := f.body[first:min(first+length, int64(len(f.body)))]
	rest := part[cond.Offset:]
	if f.breakAt != 0 {
		rest = rest[:min(len(rest), max(0, f.breakAt))]
	}
	return &tile.Object{
		Body: io.NopCloser(bytes.NewReader(rest)), Size: int64(len(part)), Total: int64(len(f.body)), ETag: etag, LastModified: modified,
		Reject: func(reason string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.reasons = append(f.reasons, reason)
		},
	}, nil
}

// writeArchive makes an archive of zooms 0 to maxZoom without the tiles whose id is divisible by five, apart from the first.
func writeArchive(t testing.TB, o pmtiles.WriteOptions, maxZoom uint8, content func(id uint64) []byte) []byte {
	t.Helper()
	if o.LeafEntries == 0 {
		o.LeafEntries = 200
	}
	end, _ := pmtiles.TileID(maxZoom+1, 0, 0)
	var b bytes.Buffer
	if err := pmtiles.Write(&b, o, func(yield func(uint64, []byte) bool) {
		for id := range end {
			if (id == 0 || id%5 != 0) && !yield(id, content(id)) {
				return
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// markedTile are bytes that are no other format, marked.
func markedTile(mark string) func(id uint64) []byte {
	return func(id uint64) []byte { return fmt.Appendf(nil, "\x1a\x05%s %d", mark, id) }
}

func gzippedTile(mark string) func(id uint64) []byte {
	return func(id uint64) []byte { return []byte(zipped(string(markedTile(mark)(id)))) }
}

const streetMetadata = `{"name":"Streets","description":"All streets","attribution":"© Acme","version":"3.1","vector_layers":[{"id":"roads","fields":{"class":"String"}}],"tilestats":{"layerCount":1}}`

// streets is an archive of vector tiles.
func streets(t testing.TB, mark string) []byte {
	t.Helper()
	if b, ok := written.Load(mark); ok {
		return b.([]byte)
	}
	b := writeArchive(t, pmtiles.WriteOptions{
		TileType: pmtiles.MVT, TileCompression: pmtiles.Gzip, Metadata: []byte(streetMetadata),
		Bounds: pmtiles.Bounds{West: -10, South: 35, East: 30, North: 60},
	}, 5, gzippedTile(mark))
	written.Store(mark, b)
	return b
}

var written sync.Map // what streets has made

// withArchive adds a tileset whose tiles are in an archive.
func withArchive(file *bucketFile, change func(*proxy.Tileset)) func(*setup) {
	return func(s *setup) {
		t := proxy.Tileset{
			ID: "streets", Version: "2026-11", MaxZoom: 30, Bounds: everywhere, Name: "streets", Freshness: policy,
			Presign: func(context.Context, tile.Key) (tile.Signed, error) { panic("an archive's tile was presigned") },
		}
		if change != nil {
			change(&t)
		}
		s.proxy.Tilesets = append(s.proxy.Tilesets, t)
		s.archives = func(o archive.Options) {
			o.Tileset, o.Read = "streets", file.read
			s.tileset("streets").Archive = archive.New(o)
		}
	}
}

func startArchive(t testing.TB, body []byte, change func(*proxy.Tileset), more ...func(*setup)) (*world, *bucketFile) {
	t.Helper()
	file := &bucketFile{}
	file.put(body)
	return start(t, append(more, withArchive(file, change))...), file
}

func raw(t *proxy.Tileset) { t.Raw = true }

func TestTileOfAnArchive(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), nil)
	id, _ := pmtiles.TileID(5, 16, 10)
	want := string(markedTile("first")(id))
	packed := w.get("/tiles/streets/5/16/10.mvt", w.as("Accept-Encoding", "gzip")...)
	if packed.status != 200 || packed.body != string(gzippedTile("first")(id)) || packed.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("got %d, %d bytes, encoding %q", packed.status, len(packed.body), packed.header.Get("Content-Encoding"))
	}
	if n := len(file.requests()); n != 3 {
		t.Errorf("a cold tile took %d requests", n)
	}
	plain := w.get("/tiles/streets/5/16/10.pbf", w.bearer()...)
	if plain.status != 200 || plain.body != want || plain.header.Get("Content-Type") != "application/vnd.mapbox-vector-tile" || !strings.Contains(plain.header.Get("Cache-Status"), "hit") {
		t.Errorf("got %d %q, headers %v", plain.status, plain.body, plain.header)
	}
	etag := packed.header.Get("Etag")
	if !strings.HasPrefix(etag, `"`) || etag == plain.header.Get("Etag") || packed.header.Get("Last-Modified") == "" {
		t.Errorf("got ETags %s and %s, Last-Modified %q", etag, plain.header.Get("Etag"), packed.header.Get("Last-Modified"))
	}
	if r := w.get("/tiles/streets/5/16/10.mvt", w.as("Accept-Encoding", "gzip", "If-None-Match", etag)...); r.status != 304 {
		t.Errorf("got %d for the ETag", r.status)
	}
	before := len(file.requests())
	for path, status := range map[string]int{
		"/tiles/streets/5/16/10.png":    404, // another format
		"/tiles/streets/5/16/10@2x.mvt": 404,
		"/tiles/streets/6/0/0":          404, // beyond the header's zooms
	} {
		if r := w.get(path, w.bearer()...); r.status != status {
			t.Errorf("%s: got %d, want %d", path, r.status, status)
		}
	}
	z, x, y, _ := pmtiles.ZXY(10)
	if r := w.get(fmt.Sprintf("/tiles/streets/%d/%d/%d", z, x, y), w.bearer()...); r.status != 404 {
		t.Errorf("an absent tile: got %d", r.status)
	}
	if n := len(file.requests()) - before; n > 2 {
		t.Errorf("absences took %d requests", n)
	}
	for range 5 {
		w.clock.Advance(policy.Fresh / 2)
		w.get("/tiles/streets/5/16/10.mvt", w.bearer()...)
	}
	for _, asked := range file.requests()[before:] {
		if strings.HasSuffix(asked, "+1") {
			continue // whether it still is the same
		}
		if first, _, _ := strings.Cut(asked, "+"); first == "0" {
			t.Errorf("the header was read again: %v", file.requests()[before:])
		}
	}
}

// Authorization comes before the archive is looked at, with every method.
func TestArchiveIsNotReadForThoseWhoMayNotSeeIt(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), raw)
	for _, path := range []string{"/tiles/streets/5/16/10.mvt", "/tiles/streets.json", "/tiles/streets.pmtiles", "/tiles/streets/9/0/0"} {
		for _, method := range []string{"GET", "HEAD"} {
			if r := w.do(method, path, ""); r.status != 401 {
				t.Errorf("%s %s without a credential: got %d", method, path, r.status)
			}
			if r := w.do(method, path, "", "Authorization", "Bearer "+w.token("basemap")); r.status != 403 {
				t.Errorf("%s %s for another tileset: got %d", method, path, r.status)
			}
		}
	}
	if asked := file.requests(); len(asked) > 0 {
		t.Errorf("the bucket was asked for %v", asked)
	}
	if r := w.do("POST", "/tiles/streets.pmtiles", "", w.bearer()...); r.status != 405 || r.header.Get("Allow") != "GET, HEAD" {
		t.Errorf("POST: got %d", r.status)
	}
}

// A range of the file holds tiles that a narrower grant does not open.
func TestRawArchiveIsClosedToNarrowGrants(t *testing.T) {
	shape, err := area.Parse([]byte(`{"type":"Polygon","coordinates":[[[0,40],[10,40],[5,50],[0,40]]]}`))
	if err != nil {
		t.Fatal(err)
	}
	triangle := auth.Area{Name: "triangle", Shape: shape}
	w, file := startArchive(t, streets(t, "first"), raw, func(s *setup) { s.auth.Areas = []auth.Area{triangle} })
	box := tile.Box{West: 0, South: 40, East: 10, North: 50}
	for name, limits := range map[string]auth.Limits{
		"a zoom range": {Tilesets: []string{"streets"}, Zoom: &tile.ZoomRange{Min: 0, Max: 3}},
		"a box":        {Tilesets: []string{"streets"}, BBox: &box},
		"an area":      {Tilesets: []string{"streets"}, Areas: []auth.Area{triangle}},
	} {
		token := w.tokenFor("bo", time.Hour, limits)
		for _, method := range []string{"GET", "HEAD"} {
			if r := w.do(method, "/tiles/streets.pmtiles", "", "Authorization", "Bearer "+token, "Range", "bytes=0-10"); r.status != 403 {
				t.Errorf("%s with %s: got %d", method, name, r.status)
			}
		}
	}
	if asked := file.requests(); len(asked) > 0 {
		t.Errorf("the bucket was asked for %v", asked)
	}
	if r := w.get("/tiles/streets.pmtiles", w.bearer()...); r.status != 200 {
		t.Errorf("with all of it: got %d", r.status)
	}
}

func TestRawArchive(t *testing.T) {
	body := streets(t, "first")
	w, file := startArchive(t, body, raw)
	whole := w.get("/tiles/streets.pmtiles", w.as("Accept-Encoding", "gzip")...)
	if whole.status != 200 || whole.body != string(body) || whole.header.Get("Etag") != `"file-1"` || whole.header.Get("Accept-Ranges") != "bytes" ||
		whole.header.Get("Content-Encoding") != "" || whole.header.Get("Content-Type") != "application/vnd.pmtiles" {
		t.Errorf("got %d, %d bytes, headers %v", whole.status, len(whole.body), whole.header)
	}
	size := len(body)
	for _, tc := range []struct {
		header []string
		status int
		from   int
		to     int
	}{
		{[]string{"Range", "bytes=0-126"}, 206, 0, 127},
		{[]string{"Range", "bytes=100-"}, 206, 100, size},
		{[]string{"Range", "bytes=-10"}, 206, size - 10, size},
		{[]string{"Range", fmt.Sprintf("bytes=%d-", size)}, 416, 0, 0},
		{[]string{"Range", "bytes=0-9", "If-Range", `"file-1"`}, 206, 0, 10},
		{[]string{"Range", "bytes=0-9", "If-Range", `"other"`}, 200, 0, size},
		{[]string{"If-None-Match", `"file-1"`}, 304, 0, 0},
		{[]string{"If-Match", `"other"`}, 412, 0, 0},
	} {
		r := w.get("/tiles/streets.pmtiles", w.as(tc.header...)...)
		if r.status != tc.status || r.status < 300 && r.body != string(body[tc.from:tc.to]) {
			t.Errorf("%q: got %d, %d bytes", tc.header, r.status, len(r.body))
		}
		if tc.status == 206 && r.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/%d", tc.from, tc.to-1, size) {
			t.Errorf("%q: got Content-Range %q", tc.header, r.header.Get("Content-Range"))
		}
	}
	before := len(file.requests())
	if r := w.do("HEAD", "/tiles/streets.pmtiles", "", w.bearer()...); r.status != 200 || r.header.Get("Content-Length") != fmt.Sprint(size) {
		t.Errorf("HEAD: got %d, length %q", r.status, r.header.Get("Content-Length"))
	}
	if n := len(file.requests()); n != before {
		t.Errorf("HEAD took %d requests", n-before)
	}
	token, _, err := w.auth.NewAccessToken(auth.AccessRequest{Subject: "alice", Limits: auth.Limits{Tilesets: []string{"streets"}}, TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	var minted struct {
		Token string `json:"token"`
	}
	if err := json.Unmarshal([]byte(w.do("POST", "/tokens", "", "Authorization", "Bearer "+token).body), &minted); err != nil {
		t.Fatal(err)
	}
	if r := w.get("/t/"+minted.Token+"/tiles/streets.pmtiles", "Range", "bytes=0-6"); r.status != 206 || r.body != "PMTiles" {
		t.Errorf("by path token: got %d %q", r.status, r.body)
	}

	file.breakAt = 100
	if r := w.get("/tiles/streets.pmtiles", w.as("Range", "bytes=0-350")...); r.status != 206 || r.body != string(body[:351]) {
		t.Errorf("a body that breaks off three times: got %d, %d bytes", r.status, len(r.body))
	}
	file.breakAt = 0
	file.put(streets(t, "second")) // while the first is fresh
	if r := w.get("/tiles/streets.pmtiles", w.as("Range", "bytes=0-9")...); r.status != 206 || r.header.Get("Etag") != `"file-2"` {
		t.Errorf("a replaced one: got %d, ETag %s", r.status, r.header.Get("Etag"))
	}
}

func TestArchiveIsNoFileUnlessRawSaysSo(t *testing.T) {
	w, _ := startArchive(t, streets(t, "first"), nil)
	for _, path := range []string{"/tiles/streets.pmtiles", "/tiles/basemap.pmtiles", "/tiles/nothing.pmtiles"} {
		if r := w.get(path, w.bearer()...); r.status != 404 {
			t.Errorf("%s: got %d", path, r.status)
		}
	}
	if r := w.get("/presign/streets/5/16/10", w.bearer()...); r.status != 404 {
		t.Errorf("presigning a tile of an archive, which would open all of it: got %d", r.status)
	}
}

// A client gets the old tile or the new one, whole, and no error, however often the archive is replaced while it asks.
func TestArchiveReplacedUnderLoad(t *testing.T) {
	w, file := startArchive(t, streets(t, "0"), nil)
	w.clock.run() // what was read before a request began is told from what was read within it
	bearer := w.bearer()
	var stop atomic.Bool
	var asked [8]atomic.Int64 // by each worker
	var wrong atomic.Int64
	var load sync.WaitGroup
	for worker := range asked {
		load.Go(func() {
			for n := worker; !stop.Load(); n++ {
				asked[worker].Add(1)
				id := uint64(n%1000)/5*5 + 1
				z, x, y, _ := pmtiles.ZXY(id)
				r := w.get(fmt.Sprintf("/tiles/streets/%d/%d/%d.mvt", z, x, y), bearer...)
				var mark, got int
				if _, err := fmt.Sscanf(strings.TrimPrefix(r.body, "\x1a\x05"), "%d %d", &mark, &got); r.status != 200 || err != nil || got != int(id) {
					if wrong.Add(1) < 5 {
						t.Errorf("tile %d: got %d %q", id, r.status, r.body)
					}
				}
			}
		})
	}
	for n := 1; n <= 40; n++ {
		file.put(streets(t, fmt.Sprint(n%4))) // each time another version of the object
		for worker := range asked {           // no request meets two replacements
			for before := asked[worker].Load(); asked[worker].Load() < before+3; {
				w.get("/tiles/streets/0/0/0", bearer...)
			}
		}
	}
	stop.Store(true)
	load.Wait()
	w.clock.Advance(policy.Fresh)
	w.get("/tiles/streets/0/0/0", bearer...)
	if wrong.Load() > 0 {
		t.Errorf("%d answers were wrong", wrong.Load())
	}
}

// A tile that is asked for while the archive is replaced again and again is 503 with Retry-After, and not an error of ours.
func TestArchiveReplacedTwiceWithinARequest(t *testing.T) {
	w, file := startArchive(t, streets(t, "0"), nil)
	if r := w.get("/tiles/streets/0/0/0", w.bearer()...); r.status != 200 {
		t.Fatalf("got %d", r.status)
	}
	archives := [][]byte{streets(t, "1"), streets(t, "2")}
	file.onRequest(func(n int) error {
		file.put(archives[n%2])
		return nil
	})
	r := w.get("/tiles/streets/5/16/10", w.bearer()...)
	if r.status != 503 || r.header.Get("Retry-After") != "1" {
		t.Errorf("got %d, Retry-After %q: %s", r.status, r.header.Get("Retry-After"), r.body)
	}
	file.onRequest(nil)
	if r := w.get("/tiles/streets/5/16/10", w.bearer()...); r.status != 200 {
		t.Errorf("afterwards: got %d", r.status)
	}
}

func TestTileJSONOfAnArchive(t *testing.T) {
	w, _ := startArchive(t, streets(t, "first"), nil, func(s *setup) { s.proxy.PublicURL = "https://tiles.example.com" })
	r := w.get("/tiles/streets.json", w.bearer()...)
	var got map[string]any
	r.decode(t, &got)
	want := map[string]any{
		"tilejson": "3.0.0", "name": "Streets", "description": "All streets", "attribution": "© Acme", "version": "3.1", "scheme": "xyz",
		"tiles": []any{"https://tiles.example.com/tiles/streets/{z}/{x}/{y}.mvt?v=2026-11"}, "minzoom": 0.0, "maxzoom": 5.0,
		"bounds": []any{-10.0, 35.0, 30.0, 60.0}, "center": got["center"],
		"vector_layers": []any{map[string]any{"id": "roads", "fields": map[string]any{"class": "String"}}},
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if !bytes.Equal(a, b) || got["center"] == nil {
		t.Errorf("got  %s\nwant %s", a, b)
	}
	box := tile.Box{West: 0, South: 40, East: 10, North: 50}
	token := w.tokenFor("bo", time.Hour, auth.Limits{Tilesets: []string{"streets"}, BBox: &box, Zoom: &tile.ZoomRange{Min: 2, Max: 9}})
	clipped := w.get("/tiles/streets.json", "Authorization", "Bearer "+token)
	if !strings.Contains(clipped.body, `"minzoom":2,"maxzoom":5,"bounds":[0,40,10,50]`) {
		t.Errorf("cut to a grant: got %s", clipped.body)
	}
	catalog := w.get("/catalog", w.bearer()...)
	if !strings.Contains(catalog.body, `{"id":"streets","name":"streets","format":"mvt","tilejson":"https://tiles.example.com/tiles/streets.json"}`) {
		t.Errorf("the catalogue says %s", catalog.body)
	}
}

func TestConfigurationWinsOverTheArchive(t *testing.T) {
	w, _ := startArchive(t, streets(t, "first"), func(ts *proxy.Tileset) {
		ts.Given = proxy.Given{MinZoom: true, MaxZoom: true, Bounds: true, Name: true, Attribution: true, VectorLayers: true}
		ts.Name, ts.Attribution, ts.VectorLayers = "Ours", "Us", json.RawMessage(`[]`)
		ts.MinZoom, ts.MaxZoom, ts.Bounds, ts.TileSize = 2, 9, tile.Box{West: -20, South: 40, East: 20, North: 70}, 512
	})
	r := w.get("/tiles/streets.json", w.bearer()...)
	for _, want := range []string{`"name":"Ours"`, `"attribution":"Us"`, `"vector_layers":[]`, `"minzoom":2,"maxzoom":5`, `"bounds":[-10,40,20,60]`, `"tileSize":512`} {
		if !strings.Contains(r.body, want) {
			t.Errorf("%s is not in %s", want, r.body)
		}
	}
	if r := w.get("/tiles/streets/1/0/0", w.bearer()...); r.status != 404 {
		t.Errorf("below the configured zooms: got %d", r.status)
	}
}

// What makes an archive useless is 502 for its tileset alone, and the operator is told why.
func TestArchiveThatCannotBeServed(t *testing.T) {
	vector := streets(t, "first")
	untyped := writeArchive(t, pmtiles.WriteOptions{TileCompression: pmtiles.None}, 2, markedTile("x"))
	for name, tc := range map[string]struct {
		body   []byte
		change func(*proxy.Tileset)
		status int
		reason string
	}{
		"another format":    {vector, func(ts *proxy.Tileset) { ts.Format, ts.Given.Format = "png", true }, 502, "the archive has mvt tiles"},
		"no type":           {untyped, nil, 502, "set format"},
		"zooms of another":  {vector, func(ts *proxy.Tileset) { ts.MinZoom, ts.Given.MinZoom = 9, true }, 502, "leave none of them"},
		"no archive":        {[]byte(strings.Repeat("no archive ", 99)), nil, 502, ""},
		"no type, a format": {untyped, func(ts *proxy.Tileset) { ts.Format, ts.Given.Format = "mvt", true }, 200, ""},
		"the same format":   {vector, func(ts *proxy.Tileset) { ts.Format, ts.Given.Format = "mvt", true }, 200, ""},
		"nothing":           {nil, nil, 404, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, file := startArchive(t, tc.body, tc.change)
			for _, path := range []string{"/tiles/streets/0/0/0", "/tiles/streets.json"} {
				if r := w.get(path, w.bearer()...); r.status != tc.status {
					t.Errorf("%s: got %d %s", path, r.status, r.body)
				}
			}
			if tc.status == 502 && (len(file.rejections()) == 0 || !strings.Contains(file.rejections()[0], tc.reason)) {
				t.Errorf("the operator is told %q", file.rejections())
			}
			if r := w.get("/catalog", w.bearer()...); r.status != 200 || !strings.Contains(r.body, `"basemap"`) || strings.Contains(r.body, `"streets"`) != (tc.status == 200) {
				t.Errorf("the catalogue: got %d %s", r.status, r.body)
			}
		})
	}
}

// A failure of the store is never an absence, and a held tile outlives it.
func TestStoreOfAnArchiveFails(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), nil)
	if r := w.get("/tiles/streets/5/16/10", w.bearer()...); r.status != 200 {
		t.Fatalf("got %d", r.status)
	}
	file.onRequest(func(int) error { return fmt.Errorf("%w: by the test", tile.ErrSlowDown) })
	w.clock.Advance(policy.Fresh + time.Hour)
	if r := w.get("/tiles/streets/5/16/10", w.bearer()...); r.status != 200 || !strings.Contains(r.header.Get("Cache-Status"), "hit; ttl=-") {
		t.Errorf("a held tile: got %d, %q", r.status, r.header.Get("Cache-Status"))
	}
	if r := w.get("/tiles/streets/5/17/10", w.bearer()...); r.status != 503 {
		t.Errorf("another tile: got %d", r.status)
	}
	w.clock.Advance(policy.Stale)
	if r := w.get("/tiles/streets/5/16/10", w.bearer()...); r.status != 503 {
		t.Errorf("beyond stale: got %d", r.status)
	}
}

func TestPurgeForgetsTheArchive(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), nil)
	read := func() string { return w.get("/tiles/streets/0/0/0", w.bearer()...).body }
	first := read()
	file.put(streets(t, "second"))
	if read() != first {
		t.Error("a fresh archive was read again")
	}
	if r := w.admin("").ask("POST", "/admin/purge", `{"tileset":"streets"}`); r.status != http.StatusOK {
		t.Fatalf("purge: got %d", r.status)
	}
	if got := read(); got == first || got == "" {
		t.Errorf("after a purge: got %q", got)
	}
}

func TestVerifyNeverWaitsForAnArchive(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), raw, func(s *setup) {
		s.proxy.VerifyHeader = "X-Original-URI"
		s.proxy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for path, status := range map[string]int{
		"/tiles/streets/5/16/10.mvt": 204, "/tiles/streets.json": 204, "/tiles/streets.pmtiles": 204, "/tiles/basemap.pmtiles": 403,
	} {
		if r := w.get("/auth/verify", w.as("X-Original-URI", path)...); r.status != status {
			t.Errorf("%s: got %d", path, r.status)
		}
	}
	if r := w.do("POST", "/tokens", "", w.bearer()...); r.status != 200 && r.status != 201 {
		t.Errorf("POST /tokens: got %d", r.status)
	}
	if asked := file.requests(); len(asked) > 0 {
		t.Errorf("the bucket was asked for %v", asked)
	}
}

func TestEncodingsOfAnArchivesTiles(t *testing.T) {
	plain := strings.Repeat("\x1a\x05 a vector tile of some length ", 40)
	for coding, compression := range map[string]pmtiles.Compression{"": pmtiles.None, "gzip": pmtiles.Gzip, "br": pmtiles.Brotli, "zstd": pmtiles.Zstd} {
		for _, internal := range []pmtiles.Compression{pmtiles.None, pmtiles.Brotli, pmtiles.Zstd} {
			stored := plain
			switch coding {
			case "gzip":
				stored = zipped(plain)
			case "br", "zstd":
				stored = packed(t, coding, plain)
			}
			w, _ := startArchive(t, writeArchive(t, pmtiles.WriteOptions{TileType: pmtiles.MLT, TileCompression: compression, InternalCompression: internal},
				1, func(uint64) []byte { return []byte(stored) }), nil)
			unpacked := w.get("/tiles/streets/0/0/0.mlt", w.bearer()...)
			if unpacked.status != 200 || unpacked.body != plain || unpacked.header.Get("Content-Type") != "application/vnd.maplibre-tile" {
				t.Errorf("%q unpacked: got %d, %d bytes", coding, unpacked.status, len(unpacked.body))
			}
			if part := w.get("/tiles/streets/0/0/0.mlt", w.as("Range", "bytes=0-9")...); coding != "" && (part.status != 200 || part.body != plain) {
				t.Errorf("%q, a part of what is unpacked: got %d, %d bytes", coding, part.status, len(part.body))
			}
			passed := w.get("/tiles/streets/0/0/0.mlt", w.as("Accept-Encoding", "gzip, br, zstd")...)
			if passed.status != 200 || passed.body != stored || passed.header.Get("Content-Encoding") != coding {
				t.Errorf("%q passed on: got %d, %d bytes, %q", coding, passed.status, len(passed.body), passed.header.Get("Content-Encoding"))
			}
			if coding != "" && (unpacked.header.Get("Etag") == passed.header.Get("Etag") || !strings.Contains(unpacked.header.Get("Vary"), "Accept-Encoding")) {
				t.Errorf("%q: ETags %s and %s, Vary %q", coding, unpacked.header.Get("Etag"), passed.header.Get("Etag"), unpacked.header.Get("Vary"))
			}
			if r := w.get("/tiles/streets.json", w.bearer()...); !strings.Contains(r.body, `"encoding":"mlt"`) {
				t.Errorf("TileJSON: %s", r.body)
			}
		}
	}
}

// One caller who reads slowly gets a part of the connections to the store; the others go on.
func TestOneCallerCannotTakeAllStreams(t *testing.T) {
	public := func(t *proxy.Tileset) { t.Raw, t.Public = true, true }
	for name, attack := range map[string]struct {
		change  func(*proxy.Tileset)
		greedy  func(w *world, n int) []string
		another func(*world) []string
	}{
		"by a subject": {
			raw,
			func(w *world, _ int) []string {
				return []string{"Authorization", "Bearer " + w.tokenFor("mallory", time.Hour, auth.Limits{Tilesets: []string{"*"}})}
			},
			func(w *world) []string { return w.bearer() },
		},
		"by the addresses of an IPv6 network": {
			public,
			func(_ *world, n int) []string { return []string{"X-Forwarded-For", fmt.Sprintf("2001:db8::%x", n+1)} },
			func(*world) []string { return []string{"X-Forwarded-For", "2001:db8:0:1::1"} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, file := startArchive(t, streets(t, "first"), attack.change, func(s *setup) {
				s.proxy.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			})
			if r := w.get("/tiles/streets.pmtiles", append(attack.another(w), "Range", "bytes=0-9")...); r.status != 206 {
				t.Fatalf("got %d", r.status)
			}
			release, arrived := make(chan struct{}), make(chan struct{}, 200)
			file.onRequest(func(int) error {
				arrived <- struct{}{}
				<-release
				return nil
			})
			var held sync.WaitGroup
			for n := range 128 {
				held.Go(func() {
					if r := w.get("/tiles/streets.pmtiles", attack.greedy(w, n)...); r.status != 200 {
						t.Errorf("one of the first 128: got %d", r.status)
					}
				})
			}
			for range 128 {
				<-arrived
			}
			file.onRequest(nil)
			if r := w.get("/tiles/streets.pmtiles", attack.greedy(w, 128)...); r.status != 429 || r.header.Get("Retry-After") == "" {
				t.Errorf("the 129th: got %d", r.status)
			}
			if r := w.get("/tiles/streets.pmtiles", attack.another(w)...); r.status != 200 {
				t.Errorf("another caller: got %d", r.status)
			}
			close(release)
			held.Wait()
			if r := w.get("/tiles/streets.pmtiles", attack.greedy(w, 129)...); r.status != 200 {
				t.Errorf("when the others have ended: got %d", r.status)
			}
		})
	}
}

func TestRawArchiveReplacedInMidStreamIsBrokenOff(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), raw)
	if r := w.get("/tiles/streets.pmtiles", w.as("Range", "bytes=0-9")...); r.status != 206 {
		t.Fatalf("got %d", r.status)
	}
	file.breakAt = 9000 // more than net/http holds back
	before := len(file.requests())
	file.onRequest(func(n int) error {
		if n == before+2 { // the first that asks for the rest
			file.put(streets(t, "second"))
		}
		return nil
	})
	r := w.get("/tiles/streets.pmtiles", w.as("Range", "bytes=0-19999")...)
	if r.status != 206 || r.err == nil || len(r.body) > 9000 || !strings.HasPrefix(string(streets(t, "first")), r.body) {
		t.Errorf("got %d, %d bytes, error %v", r.status, len(r.body), r.err)
	}
}

// What an answer said about the old archive, of which no byte was sent, does not stay in the answer out of the new one.
func TestHeadersOfAReplacedArchiveDoNotStay(t *testing.T) {
	for _, tc := range []struct {
		header       []string
		status       int
		contentRange string // for a file of %d bytes
	}{
		{[]string{"Range", "bytes=0-9", "If-Range", `"file-1"`}, 200, ""},
		{[]string{"Range", "bytes=5-9"}, 206, "bytes 5-9/%d"},
		{[]string{"Range", "bytes=%d-"}, 416, "bytes */%d"},
	} {
		first, second := streets(t, "first"), streets(t, "second")
		if tc.status == 416 {
			first = append(bytes.Clone(second), "more"...)
		}
		for i := range tc.header {
			tc.header[i] = strings.Replace(tc.header[i], "%d", fmt.Sprint(len(second)), 1)
		}
		w, file := startArchive(t, first, raw)
		if r := w.get("/tiles/streets.pmtiles", w.as("Range", "bytes=0-9")...); r.status != 206 {
			t.Fatalf("got %d", r.status)
		}
		before := len(file.requests())
		file.breakAt = -1
		file.onRequest(func(n int) error {
			if n == before+2 { // the first that asks for the rest
				file.put(second)
				file.breakAt = 0
			}
			return nil
		})
		r := w.get("/tiles/streets.pmtiles", w.as(tc.header...)...)
		want := strings.Replace(tc.contentRange, "%d", fmt.Sprint(len(second)), 1)
		if r.status != tc.status || r.header.Get("Content-Range") != want || tc.status < 300 && r.header.Get("Etag") != `"file-2"` || tc.status == 200 && r.body != string(second) {
			t.Errorf("%q: got %d, %d bytes, Content-Range %q, want %d, %q", tc.header, r.status, len(r.body), r.header.Get("Content-Range"), tc.status, want)
		}
	}
}

// A tile of an archive goes through the cache's fills: however many ask for it, the bucket is asked once, and a body that
// breaks off goes on from there.
func TestColdTileOfAnArchiveIsOneRequestForAll(t *testing.T) {
	content := func(id uint64) []byte { return bytes.Repeat(markedTile("long")(id), 4000) }
	w, file := startArchive(t, writeArchive(t, pmtiles.WriteOptions{TileType: pmtiles.MVT, TileCompression: pmtiles.None}, 2, content), nil)
	if r := w.get("/tiles/streets/0/0/0", w.bearer()...); r.status != 200 { // header and directories are held
		t.Fatalf("got %d", r.status)
	}
	before := len(file.requests())
	file.breakAt = 20_000
	id, _ := pmtiles.TileID(2, 1, 1)
	want, path, bearer := string(content(id)), "/tiles/streets/2/1/1", w.bearer()
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if r := w.get(path, bearer...); r.status != 200 || r.body != want {
				t.Errorf("got %d, %d bytes of %d", r.status, len(r.body), len(want))
			}
		})
	}
	all.Wait()
	asked := file.requests()[before:]
	if len(asked) != (len(want)+19_999)/20_000 || !strings.HasSuffix(asked[0], fmt.Sprint("+", len(want))) || !strings.HasSuffix(asked[1], fmt.Sprint("+", len(want)-20_000)) {
		t.Errorf("for a tile of %d bytes whose body breaks off after 20,000, the bucket was asked for %v", len(want), asked)
	}
}

// The catalogue waits for a header that has not been read, as a tile does.
func TestCatalogueWaitsForAColdArchive(t *testing.T) {
	w, file := startArchive(t, streets(t, "first"), nil)
	if r := w.get("/catalog", w.bearer()...); !strings.Contains(r.body, `"id":"streets","name":"streets","format":"mvt"`) || len(file.requests()) != 1 {
		t.Errorf("got %s, after %v", r.body, file.requests())
	}
}

// pmtiles.js on a page of another origin sees which part of which version it got.
func TestRawArchiveForAPageOfAnotherOrigin(t *testing.T) {
	const page = "https://app.example.com"
	w, _ := startArchive(t, streets(t, "first"), raw, func(s *setup) { s.proxy.CORS.Origins = []string{page} })
	r := w.get("/tiles/streets.pmtiles", w.as("Origin", page, "Range", "bytes=0-9")...)
	exposed := strings.ToLower(r.header.Get("Access-Control-Expose-Headers"))
	for _, name := range []string{"etag", "content-range", "content-length"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s is not exposed: %q", name, exposed)
		}
	}
	if r.status != 206 || r.header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("got %d, headers %v", r.status, r.header)
	}
}

// Where an archive does not say how its tiles are compressed, their first bytes tell.
func TestTilesOfUnknownCompression(t *testing.T) {
	for name, content := range map[string]func(id uint64) []byte{"plain": markedTile("x"), "gzip": gzippedTile("x")} {
		w, _ := startArchive(t, writeArchive(t, pmtiles.WriteOptions{TileType: pmtiles.MVT, TileCompression: pmtiles.Unknown}, 1, content), nil)
		r := w.get("/tiles/streets/0/0/0", w.as("Accept-Encoding", "gzip")...)
		want := map[string]string{"plain": "", "gzip": "gzip"}[name]
		if r.status != 200 || r.header.Get("Content-Encoding") != want || r.body != string(content(0)) {
			t.Errorf("%s: got %d, encoding %q", name, r.status, r.header.Get("Content-Encoding"))
		}
		if r := w.get("/tiles/streets/0/0/0", w.bearer()...); r.body != string(markedTile("x")(0)) {
			t.Errorf("%s, unpacked: got %q", name, r.body)
		}
	}
}
