package origin_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

const archive = "base/1/0/1.png" // any object has parts

func TestSpanOfAnObject(t *testing.T) {
	w := start(t, nil)
	whole := content(1)
	o, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	const other = `"00000000000000000000000000000000"`
	size := int64(len(whole))
	for name, tc := range map[string]struct {
		first, length int64
		cond          tile.Condition
		want          error
		got           []byte
		size          int64
		sent          string // the Range header
	}{
		"at the beginning":        {0, 127, tile.Condition{}, nil, whole[:127], 127, "bytes=0-126"},
		"in the middle":           {7000, 2000, tile.Condition{IfMatch: o.ETag}, nil, whole[7000:9000], 2000, "bytes=7000-8999"},
		"one byte":                {7000, 1, tile.Condition{}, nil, whole[7000:7001], 1, "bytes=7000-7000"},
		"at the end":              {size - 10, 10, tile.Condition{}, nil, whole[size-10:], 10, fmt.Sprintf("bytes=%d-%d", size-10, size-1)},
		"to the end":              {7000, 0, tile.Condition{}, nil, whole[7000:], size - 7000, "bytes=7000-"},
		"the whole":               {0, 0, tile.Condition{}, nil, whole, size, ""},
		"resumed":                 {7000, 2000, tile.Condition{IfMatch: o.ETag, Offset: 500}, nil, whole[7500:9000], 2000, "bytes=7500-8999"},
		"resumed at its last":     {7000, 2000, tile.Condition{IfMatch: o.ETag, Offset: 1999}, nil, whole[8999:9000], 2000, "bytes=8999-8999"},
		"resumed to the end":      {7000, 0, tile.Condition{IfMatch: o.ETag, Offset: 500}, nil, whole[7500:], size - 7000, "bytes=7500-"},
		"not modified":            {0, 1, tile.Condition{IfNoneMatch: o.ETag}, tile.ErrNotModified, nil, 0, "bytes=0-0"},
		"of another object":       {7000, 2000, tile.Condition{IfMatch: other}, tile.ErrChanged, nil, 0, "bytes=7000-8999"},
		"longer than the object":  {size - 10, 2000, tile.Condition{IfMatch: o.ETag}, nil, whole[size-10:], 10, fmt.Sprintf("bytes=%d-%d", size-10, size+1989)},
		"resumed in such a one":   {size - 10, 2000, tile.Condition{IfMatch: o.ETag, Offset: 4}, nil, whole[size-6:], 10, fmt.Sprintf("bytes=%d-%d", size-6, size+1989)},
		"since unmodified":        {7000, 2000, tile.Condition{IfUnmodifiedSince: o.LastModified}, nil, whole[7000:9000], 2000, "bytes=7000-8999"},
		"since modified":          {7000, 2000, tile.Condition{IfUnmodifiedSince: o.LastModified.Add(-time.Second)}, tile.ErrChanged, nil, 0, "bytes=7000-8999"},
		"an older one put back":   {7000, 2000, tile.Condition{IfUnmodifiedSince: o.LastModified.Add(time.Second)}, tile.ErrChanged, nil, 0, "bytes=7000-8999"},
		"beyond such a one":       {size, 2000, tile.Condition{IfUnmodifiedSince: o.LastModified}, tile.ErrChanged, nil, 0, fmt.Sprintf("bytes=%d-%d", size, size+1999)},
		"beyond the object":       {size, 2000, tile.Condition{}, tile.ErrBadAnswer, nil, 0, fmt.Sprintf("bytes=%d-%d", size, size+1999)},
		"beyond this very object": {size, 2000, tile.Condition{IfMatch: o.ETag}, tile.ErrChanged, nil, 0, fmt.Sprintf("bytes=%d-%d", size, size+1999)},
	} {
		t.Run(name, func(t *testing.T) {
			w.ResetRequests()
			got, body, err := read(w.tiles.ReadSpan(t.Context(), archive, tc.first, tc.length, tc.cond))
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err == nil && (!bytes.Equal(body, tc.got) || got.Size != tc.size || got.ETag != o.ETag) {
				t.Errorf("got %d bytes of %d, want %d of %d", len(body), got.Size, len(tc.got), tc.size)
			}
			for _, r := range w.Requests() {
				if sent := r.Header.Get("Range"); r.Key == archive && sent != tc.sent {
					t.Errorf("asked for %q, want %q", sent, tc.sent)
				}
			}
		})
	}
}

func TestSpansThatCannotExistAreNotAskedFor(t *testing.T) {
	w := start(t, nil)
	if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
		t.Fatal(err)
	}
	w.ResetRequests()
	for _, tc := range []struct{ first, length, offset int64 }{
		{-1, 5, 0}, {0, -1, 0}, {math.MaxInt64, 1, 0}, {5, math.MaxInt64, 0}, {0, 5, 5}, {0, 5, -1}, {math.MaxInt64, 0, 1},
	} {
		if _, _, err := read(w.tiles.ReadSpan(t.Context(), archive, tc.first, tc.length, tile.Condition{Offset: tc.offset})); !errors.Is(err, tile.ErrBadAnswer) {
			t.Errorf("%+v: got %v", tc, err)
		}
	}
	if n := w.Count("GetObject", "", archive); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestAnswersThatDoNotFitTheSpan(t *testing.T) {
	w := start(t, nil)
	whole := content(1)
	o, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	etag := http.Header{"Etag": {o.ETag}}
	contentRange := func(s string) fakeaws.Fault {
		return fakeaws.Fault{Header: http.Header{"Content-Range": {s}}}
	}
	sum := http.Header{"Etag": {o.ETag}, "X-Amz-Checksum-Crc32": {"AAAAAA=="}} // of the whole object, not of the span
	for name, tc := range map[string]struct {
		fault fakeaws.Fault
		want  error
	}{
		"another first byte":           {contentRange(fmt.Sprintf("bytes 6999-8998/%d", o.Size)), tile.ErrBadAnswer},
		"too short":                    {contentRange(fmt.Sprintf("bytes 7000-8998/%d", o.Size)), tile.ErrBadAnswer},
		"too long":                     {contentRange(fmt.Sprintf("bytes 7000-9000/%d", o.Size)), tile.ErrBadAnswer},
		"cut at the object's end":      {contentRange("bytes 7000-8499/8500"), tile.ErrBadAnswer}, // but 2000 bytes follow
		"ends before it begins":        {contentRange(fmt.Sprintf("bytes 7000-6999/%d", o.Size)), tile.ErrBadAnswer},
		"of unknown size":              {contentRange("bytes 7000-8999/*"), tile.ErrBadAnswer},
		"none":                         {fakeaws.Fault{Header: http.Header{"Content-Range": nil}}, tile.ErrBadAnswer},
		"another ETag":                 {fakeaws.Fault{Header: http.Header{"Etag": {`"other"`}}}, tile.ErrChanged},
		"no ETag":                      {fakeaws.Fault{Header: http.Header{"Etag": nil}}, tile.ErrChanged},
		"a store that ignores Range":   {fakeaws.Fault{Body: whole, Header: etag}, nil},
		"with the whole's checksum":    {fakeaws.Fault{Body: whole, Header: sum}, nil},
		"which sends too little":       {fakeaws.Fault{Body: whole[:7000], Header: etag}, tile.ErrBadAnswer},
		"which sends another one":      {fakeaws.Fault{Body: whole, Header: http.Header{"Etag": {`"other"`}}}, tile.ErrChanged},
		"which tells no length":        {fakeaws.Fault{Body: whole, Header: http.Header{"Etag": {o.ETag}, "Content-Length": nil}}, nil},
		"which tells none, too little": {fakeaws.Fault{Body: whole[:6000], Header: http.Header{"Etag": {o.ETag}, "Content-Length": nil}}, tile.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			tc.fault.Op = "GetObject"
			defer w.Inject(tc.fault)()
			_, body, err := read(w.tiles.ReadSpan(t.Context(), archive, 7000, 2000, tile.Condition{IfMatch: o.ETag}))
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err == nil && !bytes.Equal(body, whole[7000:9000]) {
				t.Errorf("got %d other bytes", len(body))
			}
		})
	}
	t.Run("resumed, from a store that ignores Range", func(t *testing.T) {
		defer w.Inject(fakeaws.Fault{Op: "GetObject", Body: whole, Header: etag})()
		got, body, err := read(w.tiles.ReadSpan(t.Context(), archive, 7000, 2000, tile.Condition{IfMatch: o.ETag, Offset: 500}))
		if err != nil || !bytes.Equal(body, whole[7500:9000]) || got.Size != 2000 {
			t.Errorf("got %d bytes, error %v", len(body), err)
		}
	})
}

// An archive has gigabytes. A store that ignores Range must not be read through for each of its tiles.
func TestSpanFarIntoAnObjectIsNotReadUpTo(t *testing.T) {
	sent := 0
	tiles := stub(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "bytes=0-0" { // as at start
			sent++
		}
		_, _ = io.WriteString(w, "the whole archive")
	})
	_, _, err := read(tiles.ReadSpan(t.Context(), archive, 1<<30, 5, tile.Condition{}))
	if !errors.Is(err, tile.ErrBadAnswer) || !strings.Contains(err.Error(), "supports ranges") || sent != 1 {
		t.Errorf("got %v after %d requests", err, sent)
	}
}

// A span is retried, resumed and checked like a tile's object: the cache reads it through a tile.Fetch.
func TestSpanThroughTheCache(t *testing.T) {
	whole := content(1)
	at := int64(700)
	for name, fault := range map[string]fakeaws.Fault{
		"undisturbed":             {Op: "AssumeRole", Times: 1},
		"after two 500":           {Op: "GetObject", Status: http.StatusInternalServerError, Times: 2},
		"whose body broke off":    {Op: "GetObject", ResetAt: &at, Times: 1},
		"whose body broke thrice": {Op: "GetObject", ResetAt: &at, Times: 3},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitReady(t)
				w.Inject(fault)
				cache, err := tilecache.New(tilecache.Options{})
				if err != nil {
					t.Fatal(err)
				}
				fetch := func(ctx context.Context, _ tile.Key, cond tile.Condition) (*tile.Object, error) {
					return w.tiles.ReadSpan(ctx, archive, 7000, 5000, cond)
				}
				for range 2 {
					tl, _, err := cache.Get(t.Context(), tile101, tilecache.Policy{Fresh: time.Hour}, fetch)
					if err != nil {
						t.Fatal(err)
					}
					var body []byte
					for err == nil {
						var piece []byte
						piece, err = tl.Next(t.Context(), int64(len(body)))
						body = append(body, piece...)
					}
					tl.Close()
					if !errors.Is(err, io.EOF) || !bytes.Equal(body, whole[7000:12000]) {
						t.Errorf("got %d bytes, error %v", len(body), err)
					}
				}
			})
		})
	}
}
