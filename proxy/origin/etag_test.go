package origin_test

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// opaqueETag looks like an MD5 and is none of any body here.
const opaqueETag = `"0123456789abcdef0123456789abcdef"`

func md5ETag(body []byte) string {
	sum := md5.Sum(body)
	return `"` + hex.EncodeToString(sum[:]) + `"`
}

// flipped is body with one bit changed.
func flipped(body []byte) []byte {
	changed := bytes.Clone(body)
	changed[len(changed)/2] ^= 0x10
	return changed
}

// withoutChecksum stores the tiles of the usual world as a client does that sends no checksum.
func (w *world) withoutChecksum(etag string) {
	for z, key := range []string{"base/0/0/0.png", "base/1/0/1.png"} {
		w.Put("tiles", key, fakeaws.Object{Body: content(byte(z)), ETag: etag, Checksum: "none"})
	}
}

// damage makes S3 send tile101 with a flipped bit, under the ETag of the true one.
func damage(times int) fakeaws.Fault {
	return fakeaws.Fault{
		Op: "GetObject", Key: "base/1/0/1.png", Times: times,
		Body: flipped(content(1)), Header: http.Header{"Etag": {md5ETag(content(1))}, "Content-Type": {"image/png"}},
	}
}

func TestFlippedBitIsFoundByTheETag(t *testing.T) {
	for name, before := range map[string]int{"in the first tile": 0, "after a good one": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.withoutChecksum("")
				w.waitReady(t)
				for range before {
					w.mustFetch(t)
				}
				w.ResetRequests()
				w.Inject(damage(1))
				_, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
				if !errors.Is(err, tile.ErrBadAnswer) || !strings.Contains(err.Error(), "MD5") {
					t.Fatalf("got %v", err)
				}
				if n := w.Count("GetObject", "", ""); n != 2 {
					t.Errorf("%d requests, want one more than usual", n)
				}
				if n := w.seen.count("body base bad_answer"); n != 1 {
					t.Errorf("%d bad bodies were observed", n)
				}
				w.ResetRequests()
				w.mustFetch(t)
				if n := w.Count("GetObject", "", ""); n != 1 {
					t.Errorf("%d requests for a good tile", n)
				}
			})
		})
	}
}

func TestFlippedBitIsNotKept(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.withoutChecksum("")
		w.waitReady(t)
		cache, err := tilecache.New(tilecache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.Inject(damage(1))
		if _, errs := w.clients(t, cache, 20); !errors.Is(errs[0], tile.ErrBadAnswer) {
			t.Errorf("got %v", errs[0])
		}
		pass(time.Second) // the pause after a failure
		bodies, errs := w.clients(t, cache, 20)
		for i := range bodies {
			if errs[i] != nil || !bytes.Equal(bodies[i], content(1)) {
				t.Fatalf("a client got %d bytes and %v", len(bodies[i]), errs[i])
			}
		}
	})
}

// A bit that flips in a body which came in several parts is found in the whole.
func TestFlippedBitOfAnObjectInParts(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.withoutChecksum("")
		w.waitReady(t)
		at := int64(15_000)
		broken := damage(1)
		broken.ResetAt = &at
		w.Inject(broken)
		cache, err := tilecache.New(tilecache.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, errs := w.clients(t, cache, 1); !errors.Is(errs[0], tile.ErrBadAnswer) {
			t.Errorf("got %v", errs[0])
		}
	})
}

// None of these ETags is the body's MD5, and S3 says so.
func TestETagsThatCannotBeMD5sAreNotCompared(t *testing.T) {
	body := content(1)
	for name, header := range map[string]http.Header{
		"multipart":        {"Etag": {`"0123456789abcdef0123456789abcdef-2"`}},
		"KMS":              {"Etag": {opaqueETag}, "X-Amz-Server-Side-Encryption": {"aws:kms"}},
		"KMS, two layers":  {"Etag": {opaqueETag}, "X-Amz-Server-Side-Encryption": {"aws:kms:dsse"}},
		"a customer's key": {"Etag": {opaqueETag}, "X-Amz-Server-Side-Encryption-Customer-Algorithm": {"AES256"}},
		"parts' checksum":  {"Etag": {opaqueETag}, "X-Amz-Checksum-Sha256": {"AAAA-2"}},
		"a checksum of S3": {"Etag": {opaqueETag}, "X-Amz-Checksum-Other": {"AAAA"}},
		"capitals":         {"Etag": {strings.ToUpper(opaqueETag)}},
		"weak":             {"Etag": {"W/" + opaqueETag}},
		"bare":             {"Etag": {strings.Trim(opaqueETag, `"`) + "00"}},
		"no digits":        {"Etag": {`"ghijklmnopqrstuvghijklmnopqrstuv"`}},
		"none":             {"Etag": nil},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.withoutChecksum("")
				w.waitReady(t)
				w.mustFetch(t) // its ETag is an MD5
				w.ResetRequests()
				w.Inject(fakeaws.Fault{Op: "GetObject", Body: body, Header: header})
				for range 3 {
					w.mustFetch(t)
				}
				if n := w.Count("GetObject", "", ""); n != 3 {
					t.Errorf("%d requests for 3 tiles", n)
				}
			})
		})
	}
}

// A store may give ETags that only look like MD5s, to all of its objects or to some. That costs one more request
// and never an error.
func TestETagsThatOnlyLookLikeMD5s(t *testing.T) {
	for name, before := range map[string]int{"from the first on": 0, "after one that is": 1} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.withoutChecksum("")
				w.waitReady(t)
				for range before {
					w.mustFetch(t)
				}
				w.withoutChecksum(opaqueETag)
				w.ResetRequests()
				for range 20 {
					w.mustFetch(t)
				}
				if n := w.Count("GetObject", "", ""); n != 21 {
					t.Errorf("%d requests for 20 tiles, want one more", n)
				}
				if n := strings.Count(w.log.String(), "ETags are not MD5s"); n != 1 {
					t.Errorf("logged %d times", n)
				}
				w.Inject(damage(1)) // which cannot be found any more
				if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
					t.Errorf("got %v", err)
				}
			})
		})
	}
}

// A store may give another ETag with each answer. The same bytes tell that it is no MD5.
func TestETagsThatChangeWithEachAnswer(t *testing.T) {
	var n, tiles atomic.Int64
	s3 := stub(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/1/0/1.png") {
			tiles.Add(1)
		}
		w.Header().Set("Etag", fmt.Sprintf(`"%032x"`, n.Add(1)))
		_, _ = io.WriteString(w, "a tile")
	})
	for range 10 {
		if _, body, err := read(s3.Fetch(t.Context(), tile101, tile.Condition{})); err != nil || string(body) != "a tile" {
			t.Errorf("got %q, error %v", body, err)
		}
	}
	if n := tiles.Load(); n != 11 {
		t.Errorf("%d requests for 10 tiles, want one more", n)
	}
}

// Where the second request tells nothing, a mismatch is an error only where ETags have been MD5s before.
func TestMismatchThatCannotBeJudged(t *testing.T) {
	stalls := int64(100)
	for name, second := range map[string]fakeaws.Fault{
		"failed":         {Status: http.StatusInternalServerError},
		"denied":         {Status: http.StatusForbidden, Code: "AccessDenied"},
		"gone":           {Status: http.StatusNotFound, Code: "NoSuchKey"},
		"hanging":        {HangAt: &stalls},
		"broken off":     {ResetAt: &stalls},
		"of other bytes": {Body: []byte("another tile")},
	} {
		for before, want := range map[int]error{0: nil, 1: tile.ErrBadAnswer} {
			t.Run(fmt.Sprintf("%s, %d good before", name, before), func(t *testing.T) {
				inBubble(t, func(t *testing.T, w *world) {
					w.withoutChecksum("")
					w.waitReady(t)
					for range before {
						w.mustFetch(t)
					}
					w.ResetRequests()
					w.Inject(damage(1))
					second.Op, second.Times = "GetObject", 1
					w.Inject(second)
					if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); !errors.Is(err, want) {
						t.Errorf("got %v, want %v", err, want)
					}
					if n := w.Count("GetObject", "", ""); n != 2 {
						t.Errorf("%d requests", n)
					}
					w.mustFetch(t)
				})
			})
		}
	}
}

// Second readings come out of the retry budget: a store that damages every body gets no flood of requests.
func TestSecondReadingsAreBounded(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.withoutChecksum("")
		w.waitReady(t)
		w.mustFetch(t)
		w.ResetRequests()
		for n := range byte(100) {
			remove := w.Inject(fakeaws.Fault{Op: "GetObject", Times: 1, Body: content(n), Header: http.Header{"Etag": {md5ETag(content(n + 1))}}})
			second := w.Inject(fakeaws.Fault{Op: "GetObject", Times: 1, Body: content(n + 2)})
			w.mustFail(t, tile.ErrBadAnswer)
			remove()
			second()
		}
		if n := w.Count("GetObject", "", ""); n < 110 || n > 120 {
			t.Errorf("%d requests for 100 tiles", n)
		}
	})
}

// Only whole objects have the ETag's MD5.
func TestRangesAreNotComparedWithTheETag(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.withoutChecksum("")
		w.waitReady(t)
		w.mustFetch(t)
		w.ResetRequests()
		if _, body, err := w.fetch(t.Context(), tile101, tile.Condition{IfMatch: md5ETag(content(1)), Offset: 5}); err != nil || !bytes.Equal(body, content(1)[5:]) {
			t.Errorf("got %d bytes, error %v", len(body), err)
		}
		if n := w.Count("GetObject", "", ""); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// BenchmarkVerify is what comparing a 20 KB tile with its ETag costs beside the checksum that S3 usually sends.
func BenchmarkVerify(b *testing.B) {
	for _, checksum := range []string{"CRC32", "none"} {
		b.Run(checksum, func(b *testing.B) {
			w := start(b, nil)
			w.Put("tiles", "base/1/0/1.png", fakeaws.Object{Body: content(1), Checksum: checksum})
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := w.fetch(b.Context(), tile101, tile.Condition{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
