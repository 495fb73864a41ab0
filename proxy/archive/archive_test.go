package archive_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/andybalholm/brotli"

	"tilegate/internal/bubble"
	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/proxy/archive"
	"tilegate/tilecache"
)

func TestTilesOfAnArchive(t *testing.T) {
	a, s := newArchive(t, roads(t, "first"))
	g := current(t, a)
	check(t, "requests for header and root", s.count(), 1)
	check(t, "zooms", fmt.Sprint(g.Header.MinZoom, g.Header.MaxZoom), "1 6")

	o, b, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "the tile", string(b), "first tile 3000")
	check(t, "its size", o.Size, int64(len(b)))
	check(t, "requests for a cold archive's first tile", s.count(), 3) // header and root, leaf, tile
	if !o.LastModified.Equal(g.LastModified) || o.Total != 0 {
		t.Errorf("got Last-Modified %s and total %d", o.LastModified, o.Total)
	}
	end, _ := pmtiles.TileID(7, 0, 0)
	etags := map[string]bool{}
	for id := range end {
		o, b, err := fetch(a, keyOfID(g.Generation, id), tile.Condition{})
		if id%7 == 0 {
			checkErr(t, "a tile that the archive does not have", err, tile.ErrMissing)
			continue
		}
		if err != nil || string(b) != fmt.Sprintf("first tile %d", id) {
			t.Fatalf("tile %d: got %q, error %v", id, b, err)
		}
		etags[o.ETag] = true
	}
	present := int(end - (end+6)/7)
	check(t, "different ETags", len(etags), present)
	leaves := (present + 63) / 64
	check(t, "requests for all of it", s.count(), 1+1+leaves+present)
	for _, r := range s.requests()[1:] {
		check(t, "If-Match of a later read", r.cond.IfMatch, `"v1"`)
	}
	before := s.count()
	for _, key := range []tile.Key{keyOf(g.Generation, 7, 0, 0), keyOf(g.Generation, 30, 5, 5)} {
		_, _, err := fetch(a, key, tile.Condition{})
		checkErr(t, "a zoom that the header does not have", err, tile.ErrMissing)
	}
	check(t, "requests for absences", s.count(), before)
}

// The first tile of an archive whose leaves point to leaves takes four requests, and the next one a single one.
func TestTileBelowTwoLevelsOfLeavesTakesFourRequests(t *testing.T) {
	b := write(t, pmtiles.WriteOptions{TileCompression: pmtiles.None, InternalCompression: pmtiles.None, LeafEntries: 64}, 5, nil, contentOf("x"))
	h, err := pmtiles.ParseHeader(b, int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	// The root becomes the last leaf, and a root of one entry that points to it takes its place.
	old := bytes.Clone(b[h.Root.Offset:h.Root.End()])
	root := []byte{1, 0, 0}
	root = binary.AppendUvarint(root, uint64(len(old)))
	root = binary.AppendUvarint(root, uint64(h.Leaves.Length)+1)
	deep := bytes.Clone(b[:h.Leaves.End()])
	copy(deep[h.Root.Offset:], root)
	deep = append(append(deep, old...), b[h.Tiles.Offset:]...)
	for at, n := range map[int]int64{16: int64(len(root)), 48: h.Leaves.Length + int64(len(old)), 56: h.Tiles.Offset + int64(len(old))} {
		binary.LittleEndian.PutUint64(deep[at:], uint64(n))
	}
	a, s := newArchive(t, deep)
	g := current(t, a)
	_, got, err := fetch(a, keyOfID(g.Generation, 700), tile.Condition{})
	if err != nil || string(got) != "x tile 700" {
		t.Errorf("got %q, error %v", got, err)
	}
	check(t, "requests", s.count(), 4)
	_, _, err = fetch(a, keyOfID(g.Generation, 701), tile.Condition{})
	checkErr(t, "its neighbour", err, nil)
	check(t, "requests with that", s.count(), 5)
}

func TestConditionsOnATile(t *testing.T) {
	a, s := newArchive(t, roads(t, "first"))
	g := current(t, a)
	key := keyOfID(g.Generation, 100)
	o, whole, err := fetch(a, key, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	before := s.count()
	_, _, err = fetch(a, key, tile.Condition{IfNoneMatch: o.ETag})
	checkErr(t, "If-None-Match", err, tile.ErrNotModified)
	_, _, err = fetch(a, key, tile.Condition{IfMatch: `"other"`})
	checkErr(t, "If-Match of another", err, tile.ErrChanged)
	check(t, "requests", s.count(), before)
	later := g.LastModified.Add(time.Hour)
	_, _, err = fetch(a, key, tile.Condition{IfModifiedSince: later})
	checkErr(t, "If-Modified-Since", err, tile.ErrNotModified)
	_, _, err = fetch(a, key, tile.Condition{IfModifiedSince: g.LastModified.Add(-time.Second)})
	checkErr(t, "If-Modified-Since before", err, nil)
	_, _, err = fetch(a, key, tile.Condition{IfNoneMatch: `"other"`, IfModifiedSince: later})
	checkErr(t, "If-Modified-Since beside an If-None-Match of another, which counts alone", err, nil)
	rest, b, err := fetch(a, key, tile.Condition{IfMatch: o.ETag, Offset: 6})
	if err != nil {
		t.Fatal(err)
	}
	check(t, "the rest", string(b), string(whole[6:]))
	check(t, "its whole size", rest.Size, o.Size)
	check(t, "its ETag", rest.ETag, o.ETag)
}

// Nothing is known to be older than a date where the store tells no Last-Modified.
func TestStoreWithoutLastModified(t *testing.T) {
	a, s := newArchive(t, roads(t, "first"))
	s.undated = true
	g := current(t, a)
	_, b, err := fetch(a, keyOfID(g.Generation, 100), tile.Condition{IfModifiedSince: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil || string(b) != "first tile 100" {
		t.Errorf("got %q, error %v", b, err)
	}
}

func TestEncodings(t *testing.T) {
	for compression, want := range map[pmtiles.Compression]string{
		pmtiles.None: "", pmtiles.Gzip: "gzip", pmtiles.Brotli: "br", pmtiles.Zstd: "zstd", pmtiles.Unknown: "",
	} {
		for _, internal := range []pmtiles.Compression{pmtiles.None, pmtiles.Gzip, pmtiles.Brotli, pmtiles.Zstd} {
			a, _ := newArchive(t, write(t, pmtiles.WriteOptions{TileCompression: compression, InternalCompression: internal, LeafEntries: 100, Metadata: []byte(`{"name":"n"}`)},
				4, nil, contentOf("x")))
			g := current(t, a)
			o, b, err := fetch(a, keyOf(g.Generation, 4, 3, 3), tile.Condition{})
			if err != nil || o.Encoding != want {
				t.Errorf("tiles %s, directories %s: got %q, encoding %q, error %v", compression, internal, b, o.Encoding, err)
			}
			m, err := a.Metadata(t.Context(), g.Generation)
			if err != nil || m.Name != "n" {
				t.Errorf("directories %s: metadata %v, error %v", internal, m, err)
			}
		}
	}
}

func TestSmallArchiveEndsWithinTheFirstRead(t *testing.T) {
	a, s := newArchive(t, write(t, pmtiles.WriteOptions{TileCompression: pmtiles.None}, 0, nil, contentOf("only")))
	_, b, err := fetch(a, keyOf(current(t, a).Generation, 0, 0, 0), tile.Condition{})
	if err != nil || string(b) != "only tile 0" {
		t.Errorf("got %q, error %v", b, err)
	}
	check(t, "requests", s.count(), 2)
}

// One conditional request per fresh renews everything, however many tiles are asked for.
func TestFreshnessIsTheArchives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		first := current(t, a)
		for hour := range 10 {
			before := s.count()
			bubble.Advance(fresh - time.Second)
			check(t, "validated", current(t, a).Validated, first.Validated.Add(time.Duration(hour)*fresh))
			synctest.Wait()
			check(t, "requests while fresh", s.count(), before)
			bubble.Advance(time.Second)
			for range 50 {
				check(t, "generation", current(t, a).ID, first.ID)
			}
			synctest.Wait()
			check(t, "requests at the end of fresh", s.count(), before+1)
			r := s.requests()[before]
			check(t, "its range", fmt.Sprint(r.first, r.length, " ", r.cond.IfNoneMatch), `0 1 "v1"`)
		}
	})
}

func TestReplacedArchiveIsNoticedWhenFreshEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		old := current(t, a)
		s.put(roads(t, "second"))
		bubble.Advance(fresh)
		check(t, "while it is asked", current(t, a).ID, old.ID)
		synctest.Wait()
		g := current(t, a)
		if g.ID == old.ID || g.ID == 0 {
			t.Fatalf("got generation %d after %d", g.ID, old.ID)
		}
		_, b, err := fetch(a, keyOfID(g.Generation, 5), tile.Condition{})
		if err != nil || string(b) != "second tile 5" {
			t.Errorf("got %q, error %v", b, err)
		}
		_, _, err = fetch(a, keyOfID(old.Generation, 5), tile.Condition{})
		checkErr(t, "a tile of the old generation", err, tile.ErrChanged)
		s.put(roads(t, "first")) // the same bytes, but another version of the object
		bubble.Advance(fresh)
		current(t, a)
		synctest.Wait()
		if id := current(t, a).ID; id == old.ID || id == g.ID {
			t.Errorf("got generation %d again", id)
		}
	})
}

// A thousand requests that notice the same replacement share one read of the new header.
func TestReplacementIsReadOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		old := current(t, a)
		s.put(roads(t, "second"))
		before := s.count()
		release := make(chan struct{})
		s.onRequest(func(request) (int, error) { <-release; return 0, nil })
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				g, err := a.Replaced(t.Context(), old.Generation)
				if err != nil || g.ID == old.ID {
					t.Errorf("got %v, error %v", g, err)
				}
			})
		}
		synctest.Wait()
		close(release)
		all.Wait()
		check(t, "requests", s.count(), before+1)
	})
}

// A tile that is read while the archive is replaced is the old one or the new one, never a mixture, whichever of its reads
// meets the replacement.
func TestReplacementDuringTheReadsOfOneTile(t *testing.T) {
	for at := 1; at <= 4; at++ { // header, leaf, tile, nothing
		a, s := newArchive(t, roads(t, "first"))
		n := 0
		s.onRequest(func(request) (int, error) {
			if n++; n == at {
				s.put(write(t, pmtiles.WriteOptions{TileCompression: pmtiles.None, LeafEntries: 100}, 6, nil, contentOf("second")))
			}
			return 0, nil
		})
		g := current(t, a)
		_, b, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
		want := "second tile 3000"
		switch at {
		case 1:
			checkErr(t, "all of the new one", err, nil)
		case 4:
			want = "first tile 3000"
			checkErr(t, "all of the old one", err, nil)
		default:
			checkErr(t, "the first attempt", err, tile.ErrChanged)
			if g, err = a.Replaced(t.Context(), g.Generation); err != nil {
				t.Fatal(err)
			}
			_, b, err = fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
			checkErr(t, "the second attempt", err, nil)
		}
		check(t, fmt.Sprintf("replaced at read %d", at), string(b), want)
	}
}

func TestReplacedAgainAndAgainIsAnError(t *testing.T) {
	a, s := newArchive(t, roads(t, "0"))
	g := current(t, a)
	var versions atomic.Int32
	s.onRequest(func(r request) (int, error) {
		if n := versions.Add(1); r.cond.IfMatch != "" {
			s.put(roads(t, fmt.Sprint(n)))
		}
		return 0, nil
	})
	for range 3 {
		_, _, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
		checkErr(t, "a tile", err, tile.ErrChanged)
		var replacedErr error
		if g, replacedErr = a.Replaced(t.Context(), g.Generation); replacedErr != nil {
			t.Fatal(replacedErr)
		}
	}
}

func TestArchiveThatIsNotThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, nil)
		for range 5 {
			_, err := a.Current(t.Context())
			checkErr(t, "no archive", err, tile.ErrMissing)
		}
		check(t, "requests", s.count(), 1)
		s.put(roads(t, "first"))
		bubble.Advance(missingFor)
		g := current(t, a)
		s.remove()
		bubble.Advance(fresh)
		check(t, "while it is asked", current(t, a).ID, g.ID)
		synctest.Wait()
		_, err := a.Current(t.Context())
		checkErr(t, "it was deleted", err, tile.ErrMissing)
		bubble.Advance(missingFor)
		s.put(roads(t, "second"))
		check(t, "it is back", current(t, a).ID != g.ID, true)
		if log := s.log.String(); !strings.Contains(log, "source=s3://tiles/roads.pmtiles") || !strings.Contains(log, "upload it") {
			t.Errorf("the log does not tell which object is missing, and what to do:\n%s", log)
		}
	})
}

// A tile's read that meets a deleted archive asks for the header, which says that it is gone.
func TestArchiveDeletedWhileFresh(t *testing.T) {
	a, s := newArchive(t, roads(t, "first"))
	g := current(t, a)
	s.remove()
	_, _, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
	checkErr(t, "a tile", err, tile.ErrChanged)
	_, err = a.Replaced(t.Context(), g.Generation)
	checkErr(t, "the archive", err, tile.ErrMissing)
	_, err = a.Current(t.Context())
	checkErr(t, "the archive from then on", err, tile.ErrMissing)
}

func TestStoreFailsWhileTheArchiveIsStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		g := current(t, a)
		down := fmt.Errorf("%w: SlowDown", tile.ErrSlowDown)
		s.onRequest(func(request) (int, error) { return 0, down })
		bubble.Advance(fresh)
		before := s.count()
		for range 3600 { // an hour, with one request a second
			check(t, "generation", current(t, a).ID, g.ID)
			synctest.Wait()
			bubble.Advance(time.Second)
		}
		if n := s.count() - before; n < 50 || n > 80 {
			t.Errorf("%d renewals were tried within an hour", n)
		}
		bubble.Advance(stale)
		_, err := a.Current(t.Context())
		checkErr(t, "beyond stale", err, tile.ErrSlowDown)
		before = s.count()
		_, err = a.Current(t.Context())
		checkErr(t, "right after it", err, tile.ErrSlowDown)
		check(t, "requests", s.count(), before)
		s.onRequest(nil)
		bubble.Advance(failureShown)
		check(t, "it is back", current(t, a).ID, g.ID)
		last := s.requests()[s.count()-1]
		check(t, "it was asked by its ETag", last.cond.IfNoneMatch, `"v1"`)
	})
}

const failureShown = time.Second

func TestStoreWithoutStrongETags(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		s.weak = true
		g := current(t, a)
		o, _, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
		if err != nil || !strings.HasPrefix(o.ETag, "W/") {
			t.Fatalf("got ETag %q, error %v", o.ETag, err)
		}
		for _, r := range s.requests()[1:] {
			check(t, "If-Unmodified-Since", r.cond.IfUnmodifiedSince, g.LastModified)
		}
		bubble.Advance(fresh)
		current(t, a)
		synctest.Wait()
		check(t, "If-Modified-Since", s.requests()[s.count()-1].cond.IfModifiedSince, g.LastModified)
		s.put(roads(t, "second"))
		_, _, err = fetch(a, keyOfID(g.Generation, 1), tile.Condition{})
		checkErr(t, "a replaced one", err, tile.ErrChanged)

		s.none = true
		a.Forget()
		_, err = a.Current(t.Context())
		checkErr(t, "no Last-Modified either", err, tile.ErrBadAnswer)
		check(t, "told to the operator", len(s.rejections()), 1)
	})
}

// Whatever is wrong with the archive, its class is 502, the operator is told, and the failure is asked about again after
// half a second at the most.
func TestFaultsOfTheFormat(t *testing.T) {
	good := roads(t, "first")
	h, err := pmtiles.ParseHeader(good, int64(len(good)))
	if err != nil {
		t.Fatal(err)
	}
	change := func(f func(b []byte) []byte) []byte { return f([]byte(string(good))) }
	fill := func(r pmtiles.Range, with byte) []byte {
		return change(func(b []byte) []byte {
			for i := r.Offset; i < r.End(); i++ {
				b[i] = with
			}
			return b
		})
	}
	for name, tc := range map[string]struct {
		body []byte
		part string // where it is noticed: header, tile, metadata
	}{
		"no archive":               {[]byte(strings.Repeat("This is no archive. ", 50)), "header"},
		"ten bytes":                {good[:10], "header"},
		"a header alone":           {good[:127], "header"},
		"version 1":                {change(func(b []byte) []byte { copy(b, "PM\x01\x00"); return b }), "header"},
		"version 2":                {change(func(b []byte) []byte { copy(b, "PM\x02\x00"); return b }), "header"},
		"cut off":                  {good[:len(good)-1], "header"},
		"a root that is none":      {fill(h.Root, 0xff), "header"},
		"leaves that are none":     {fill(h.Leaves, 0xff), "tile"},
		"leaves of zeros":          {fill(h.Leaves, 0), "tile"},
		"metadata that is none":    {fill(h.Metadata, 0xff), "metadata"},
		"zooms backwards":          {change(func(b []byte) []byte { b[100], b[101] = 9, 3; return b }), "header"},
		"an unknown compression":   {change(func(b []byte) []byte { b[97] = 77; return b }), "header"},
		"a root outside":           {change(func(b []byte) []byte { b[15] = 0x7f; return b }), "header"},
		"an HTML page, status 200": {[]byte("<!doctype html><title>Sign in</title>" + strings.Repeat(" ", 20000)), "header"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, s := newArchive(t, tc.body)
				at, err := "header", error(nil)
				var g archive.State
				for range 3 {
					if g, err = a.Current(t.Context()); err == nil {
						at = "tile"
						_, _, err = fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
						if err == nil {
							at = "metadata"
							_, err = a.Metadata(t.Context(), g.Generation)
						}
					}
					checkErr(t, "the answer", err, tile.ErrBadAnswer)
				}
				check(t, "noticed in", at, tc.part)
				check(t, "told to the operator", len(s.rejections()), 1)
				before := s.count()
				s.put(good)
				bubble.Advance(time.Second)
				if tc.part == "header" {
					current(t, a)
				} else {
					g, err = a.Replaced(t.Context(), g.Generation)
					checkErr(t, "Replaced", err, nil)
				}
				if s.count() == before {
					t.Error("the failure was remembered for more than a second")
				}
			})
		})
	}
}

// A store's failure at any part keeps its class: it is never an absence.
func TestFailuresOfTheStoreAtEachPart(t *testing.T) {
	for _, class := range []error{tile.ErrDenied, tile.ErrUnreachable, tile.ErrSlowDown, tile.ErrNoCredentials, tile.ErrTimeout, tile.ErrBadAnswer} {
		for part := 1; part <= 4; part++ { // header and root, leaf, tile, metadata
			synctest.Test(t, func(t *testing.T) {
				a, s := newArchive(t, roads(t, "first"))
				var n atomic.Int32
				s.onRequest(func(request) (int, error) {
					if n.Add(1) == int32(part) {
						return 0, fmt.Errorf("%w: by the test", class)
					}
					return 0, nil
				})
				all := func() error {
					g, err := a.Current(t.Context())
					if err != nil {
						return err
					}
					if _, _, err = fetch(a, keyOfID(g.Generation, 3000), tile.Condition{}); err != nil {
						return err
					}
					_, err = a.Metadata(t.Context(), g.Generation)
					return err
				}
				err := all()
				checkErr(t, fmt.Sprintf("part %d", part), err, class)
				if errors.Is(err, tile.ErrMissing) {
					t.Error("a failure became an absence")
				}
				bubble.Advance(time.Second)
				checkErr(t, "a second later", all(), nil)
			})
		}
	}
}

func TestBrokenBodiesAreResumed(t *testing.T) {
	a, s := newArchive(t, roads(t, "first"))
	var n atomic.Int32
	s.onRequest(func(request) (int, error) {
		if n.Add(1)%2 == 1 {
			return 50, nil
		}
		return 0, nil
	})
	g := current(t, a)
	check(t, "the rest of the header is asked for", s.requests()[1].cond, tile.Condition{IfMatch: `"v1"`, Offset: 50})
	if m, err := a.Metadata(t.Context(), g.Generation); err != nil || m.Name != "first" {
		t.Errorf("got %v, error %v", m, err)
	}
	s.onRequest(func(request) (int, error) { return 1, nil })
	_, _, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
	checkErr(t, "a body that goes on breaking", err, tile.ErrUnreachable)
}

func TestDirectoryLargerThanAQuarterOfTheCache(t *testing.T) {
	const quarter = 1 << 18
	big := write(t, pmtiles.WriteOptions{TileCompression: pmtiles.None, LeafEntries: 15_000}, 7, nil, contentOf("x")) // 24 bytes an entry
	a, s := newArchiveIn(t, big, tilecache.Options{Memory: 4 * quarter, MaxObject: 1 << 15})
	g := current(t, a)
	_, _, err := fetch(a, keyOfID(g.Generation, 3), tile.Condition{})
	checkErr(t, "a tile of a large leaf", err, tile.ErrBadAnswer)
	if r := s.rejections(); len(r) != 1 || !strings.Contains(r[0], "pmtiles cluster") {
		t.Errorf("the operator is told %q", r)
	}
}

// bomb is an archive whose root directory claims one entry and unpacks to size bytes.
func bomb(t testing.TB, size int) []byte {
	t.Helper()
	b := write(t, pmtiles.WriteOptions{TileCompression: pmtiles.None, InternalCompression: pmtiles.Brotli}, 0, nil, contentOf("x"))
	var packed bytes.Buffer
	w := brotli.NewWriter(&packed)
	if _, err := w.Write(append([]byte{1}, make([]byte, size)...)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint64(b[8:], uint64(len(b)))
	binary.LittleEndian.PutUint64(b[16:], uint64(packed.Len()))
	return append(b, packed.Bytes()...)
}

// kept is a value of so many bytes.
type kept int64

func (k kept) Size() int64 { return int64(k) }

// A directory that lies about its size is found out before it pushes anything out of the cache.
func TestAttackABombInADirectoryTakesNoRoomFromOthers(t *testing.T) {
	cache, err := tilecache.New(tilecache.Options{Memory: 64 << 20, MaxObject: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cache.Close(context.Background()) }()
	for i := range int64(31) {
		_, err := cache.Value(t.Context(), tilecache.ValueKey{Tileset: "others", Offset: i}, func(context.Context, func(int64) error) (tilecache.Value, error) {
			return kept(1 << 20), nil
		})
		checkErr(t, "Value", err, nil)
	}
	s := &store{t: t}
	s.put(bomb(t, 40<<20))
	a := archive.New(archive.Options{Tileset: "roads", Read: s.read, Cache: cache, Fresh: fresh, Stale: stale})
	_, err = a.Current(t.Context())
	checkErr(t, "the bomb", err, tile.ErrBadAnswer)
	s.put(bomb(t, 4<<20)) // within a quarter of the cache: it is decoded, and is no directory
	a.Forget()
	_, err = a.Current(t.Context())
	checkErr(t, "the smaller one", err, tile.ErrBadAnswer)
	check(t, "values of others that are left", cache.Stats().Values, 31)
}

// Metadata counts against the cache with what it unpacks to, not with what is stored.
func TestAttackMetadataThatUnpackToMuchAreCounted(t *testing.T) {
	metadata := []byte(`{"name":"n","x":"` + strings.Repeat("x", 12<<20) + `"}`)
	big := write(t, pmtiles.WriteOptions{TileCompression: pmtiles.None, Metadata: metadata}, 0, nil, contentOf("x"))
	a, s := newArchiveIn(t, big, tilecache.Options{Memory: 32 << 20, MaxObject: 1 << 20})
	_, err := a.Metadata(t.Context(), current(t, a).Generation)
	checkErr(t, "12 MiB in a cache of 32", err, tile.ErrBadAnswer)
	if r := s.rejections(); len(r) != 1 || !strings.Contains(r[0], "a quarter of cache.memory") {
		t.Errorf("the operator is told %q", r)
	}
	a, _ = newArchiveIn(t, big, tilecache.Options{Memory: 64 << 20, MaxObject: 1 << 20})
	m, err := a.Metadata(t.Context(), current(t, a).Generation)
	if err != nil || m.Name != "n" {
		t.Errorf("in a cache of 64 MiB: got error %v", err)
	}
}

// Directories make room for tiles when they are not asked for, and are read again: nothing else depends on the cache.
func TestDirectoriesThatWereEvictedAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cache, err := tilecache.New(tilecache.Options{Memory: 4 << 20, MaxObject: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		s := &store{t: t}
		s.put(roads(t, "first"))
		a := archive.New(archive.Options{Tileset: "roads", Read: s.read, Cache: cache, Fresh: fresh, Stale: stale})
		g := current(t, a)
		_, _, err = fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
		checkErr(t, "a tile", err, nil)
		check(t, "parts held", cache.Stats().Values, 2)
		if _, err := cache.Purge(t.Context(), tile.Purge{Tileset: "roads"}); err != nil {
			t.Fatal(err)
		}
		check(t, "parts held after a purge", cache.Stats().Values, 0)
		before := s.count()
		_, b, err := fetch(a, keyOfID(g.Generation, 3000), tile.Condition{})
		if err != nil || string(b) != "first tile 3000" {
			t.Errorf("got %q, error %v", b, err)
		}
		check(t, "root, leaf and tile are read", s.count(), before+3)
		if err := cache.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestForgetWhileTheHeaderIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		release := make(chan struct{})
		s.onRequest(func(request) (int, error) { <-release; return 0, nil })
		got := make(chan archive.State)
		go func() { got <- current(t, a) }()
		synctest.Wait()
		a.Forget()
		close(release)
		before := <-got
		s.put(roads(t, "second"))
		if g := current(t, a); g.ID == before.ID {
			t.Error("what was read before Forget is kept")
		}
	})
}

func TestHeaderThatNobodyWaitsForIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		ended := make(chan error, 1)
		a2 := archive.New(archive.Options{Tileset: "roads", Fresh: fresh, Read: func(ctx context.Context, _, _ int64, _ tile.Condition) (*tile.Object, error) {
			<-ctx.Done()
			ended <- context.Cause(ctx)
			return nil, ctx.Err()
		}})
		ctx, leave := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				_, err := a2.Current(ctx)
				checkErr(t, "who left", err, context.Canceled)
			})
		}
		synctest.Wait()
		leave()
		all.Wait()
		if err := <-ended; err == nil {
			t.Error("the read goes on")
		}
		_, _ = a, s
	})
}

// A store that never answers ends a call all the same.
func TestReadThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := archive.New(archive.Options{Tileset: "roads", Fresh: fresh, Read: func(ctx context.Context, _, _ int64, _ tile.Condition) (*tile.Object, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		_, err := a.Current(t.Context())
		checkErr(t, "no answer", err, tile.ErrTimeout)
	})
}

func TestPanicWhileAnArchiveIsRead(t *testing.T) {
	a, s := newArchive(t, roads(t, "first"))
	s.onRequest(func(request) (int, error) { panic("by the test") })
	_, err := a.Current(t.Context())
	if err == nil {
		t.Error("got no error")
	}
}

func TestArchiveReplacedByWhatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, s := newArchive(t, roads(t, "first"))
		old := current(t, a)
		s.put([]byte("<html>oops</html>"))
		bubble.Advance(fresh)
		check(t, "while it is asked", current(t, a).ID, old.ID)
		synctest.Wait()
		_, err := a.Current(t.Context())
		checkErr(t, "from then on", err, tile.ErrBadAnswer)
		_, _, err = fetch(a, keyOfID(old.Generation, 1), tile.Condition{})
		checkErr(t, "the old one's tiles", err, tile.ErrChanged)
		if log := s.log.String(); strings.Count(log, "level=WARN") != 1 || !strings.Contains(log, "the new one cannot be read") {
			t.Errorf("got %q", log)
		}
		s.put(roads(t, "second"))
		bubble.Advance(time.Second)
		current(t, a)
	})
}

// The store refuses Range and sends all of it: the header would be read at the price of the archive for each tile.
func TestStoreWithoutRanges(t *testing.T) {
	a := archive.New(archive.Options{Tileset: "roads", Fresh: fresh, Read: func(context.Context, int64, int64, tile.Condition) (*tile.Object, error) {
		o := &tile.Object{Size: pmtiles.FirstRead, ETag: `"v"`, Body: readCloser{strings.NewReader("")}}
		return o, nil
	}})
	_, err := a.Current(t.Context())
	checkErr(t, "no Content-Range", err, tile.ErrBadAnswer)
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
