package origin_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
)

func TestFetchTellsWhatS3Stores(t *testing.T) {
	w := start(t, nil)
	modified := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	for name, tc := range map[string]struct {
		put            fakeaws.Object
		etag, encoding string
	}{
		"plain":        {fakeaws.Object{Body: []byte("abc"), ETag: `"e1"`}, `"e1"`, ""},
		"gzip":         {fakeaws.Object{Body: []byte("\x1f\x8babc"), ETag: `"e2"`, ContentEncoding: "gzip"}, `"e2"`, "gzip"},
		"aws-chunked":  {fakeaws.Object{Body: []byte("abc"), ETag: `"e3"`, ContentEncoding: "GZIP,aws-chunked"}, `"e3"`, "gzip"},
		"weak ETag":    {fakeaws.Object{Body: []byte("abc"), ETag: `W/"e4"`}, `W/"e4"`, ""},
		"bare ETag":    {fakeaws.Object{Body: []byte("abc"), ETag: `e5`}, `"e5"`, ""},
		"empty object": {fakeaws.Object{Body: []byte{}, ETag: `"e6"`}, `"e6"`, ""},
		"CRC64NVME":    {fakeaws.Object{Body: content(9), ETag: `"e7"`, Checksum: "CRC64NVME"}, `"e7"`, ""},
		"no checksum":  {fakeaws.Object{Body: content(9), ETag: `"e8"`, Checksum: "none"}, `"e8"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			tc.put.LastModified = modified
			w.Put("tiles", "base/1/0/1.png", tc.put)
			o, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(body, tc.put.Body) || o.Size != int64(len(body)) || o.ETag != tc.etag || o.Encoding != tc.encoding || !o.LastModified.Equal(modified) {
				t.Errorf("got %d bytes, size %d, ETag %q, encoding %q, modified %s", len(body), o.Size, o.ETag, o.Encoding, o.LastModified)
			}
		})
	}
}

func TestConditions(t *testing.T) {
	w := start(t, nil)
	whole := content(1)
	o, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	const other = `"00000000000000000000000000000000"`
	size := int64(len(whole))
	for name, tc := range map[string]struct {
		cond tile.Condition
		want error
		from int64
	}{
		"still the same":              {tile.Condition{IfNoneMatch: o.ETag}, tile.ErrNotModified, 0},
		"another one by now":          {tile.Condition{IfNoneMatch: other}, nil, 0},
		"resume":                      {tile.Condition{IfMatch: o.ETag, Offset: 7000}, nil, 7000},
		"resume at the last byte":     {tile.Condition{IfMatch: o.ETag, Offset: size - 1}, nil, size - 1},
		"resume without an ETag":      {tile.Condition{Offset: 7000}, nil, 7000},
		"resume of another object":    {tile.Condition{IfMatch: other, Offset: 7000}, tile.ErrChanged, 0},
		"resume beyond a shorter one": {tile.Condition{Offset: size + 5}, tile.ErrChanged, 0},
		"anew, but not this one":      {tile.Condition{IfMatch: other}, tile.ErrChanged, 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, body, err := w.fetch(t.Context(), tile101, tc.cond)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err == nil && (!bytes.Equal(body, whole[tc.from:]) || got.Size != size) {
				t.Errorf("got %d bytes of %d, want %d of %d", len(body), got.Size, size-tc.from, size)
			}
		})
	}
}

func TestAnswersThatDoNotFitTheRequest(t *testing.T) {
	w := start(t, nil)
	o, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	resume := tile.Condition{IfMatch: o.ETag, Offset: 7000}
	contentRange := func(first, last, total int64) fakeaws.Fault {
		return fakeaws.Fault{Header: http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", first, last, total)}}}
	}
	for name, tc := range map[string]struct {
		fault fakeaws.Fault
		cond  tile.Condition
		want  error
	}{
		"304 to an unconditional GET":  {fakeaws.Fault{NotModified: true}, tile.Condition{}, tile.ErrBadAnswer},
		"a range where all was wanted": {contentRange(0, o.Size-1, o.Size), tile.Condition{}, tile.ErrBadAnswer},
		"another range":                {contentRange(6999, o.Size-2, o.Size-1), resume, tile.ErrBadAnswer},
		"a range that ends early":      {contentRange(7000, o.Size-2, o.Size), resume, tile.ErrBadAnswer},
		"a range of another object":    {contentRange(7000, o.Size, o.Size+1), resume, tile.ErrBadAnswer},
		"a range of unknown size":      {fakeaws.Fault{Header: http.Header{"Content-Range": {"bytes 7000-20439/*"}}}, resume, tile.ErrBadAnswer},
		"a range that is none":         {fakeaws.Fault{Header: http.Header{"Content-Range": {"seven to nine"}}}, resume, tile.ErrBadAnswer},
		"all of it, with its ETag":     {fakeaws.Fault{Body: content(1), Header: http.Header{"Etag": {o.ETag}}}, resume, nil},
		"all of another one":           {fakeaws.Fault{Body: content(1), Header: http.Header{"Etag": {`"other"`}}}, resume, tile.ErrChanged},
		"all, but too short":           {fakeaws.Fault{Body: []byte("short"), Header: http.Header{"Etag": {o.ETag}}}, resume, tile.ErrBadAnswer},
		"a page, status 404":           {fakeaws.Fault{Status: http.StatusNotFound, Code: "NotFound"}, tile.Condition{}, tile.ErrBadAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			tc.fault.Op = "GetObject"
			defer w.Inject(tc.fault)()
			_, body, err := w.fetch(t.Context(), tile101, tc.cond)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if err == nil && !bytes.Equal(body, content(1)[tc.cond.Offset:]) {
				t.Errorf("got %d other bytes", len(body))
			}
		})
	}
}

func TestUnknownLength(t *testing.T) {
	w := start(t, nil)
	w.Inject(fakeaws.Fault{Op: "GetObject", Header: http.Header{"Content-Length": nil}})
	o, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil || o.Size != -1 || !bytes.Equal(body, content(1)) {
		t.Errorf("got %d bytes, size %d, error %v", len(body), o.Size, err)
	}
}

func TestBodyFaults(t *testing.T) {
	w := start(t, nil)
	at := int64(7000)
	for name, tc := range map[string]struct {
		fault fakeaws.Fault
		want  error
	}{
		"reset":          {fakeaws.Fault{ResetAt: &at}, tile.ErrUnreachable},
		"truncated":      {fakeaws.Fault{TruncateAt: &at}, tile.ErrUnreachable},
		"wrong checksum": {fakeaws.Fault{Header: http.Header{"X-Amz-Checksum-Crc32": {"AAAAAA=="}}}, tile.ErrBadAnswer},
		"longer":         {fakeaws.Fault{ExtraBytes: []byte("surplus")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			tc.fault.Op = "GetObject"
			defer w.Inject(tc.fault)()
			_, body, err := w.fetch(t.Context(), tile101, tile.Condition{})
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if !bytes.HasPrefix(content(1), body) {
				t.Error("the bytes before the fault are not the object's")
			}
		})
	}
	if n := w.seen.count("body base unreachable"); n != 2 {
		t.Errorf("%d broken bodies were observed", n)
	}
}

func TestChecksumIsNotAskedForRanges(t *testing.T) {
	w := start(t, nil)
	o, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{IfMatch: o.ETag, Offset: 5}); err != nil {
		t.Fatal(err)
	}
	for _, r := range w.Requests() {
		if mode := r.Header.Get("X-Amz-Checksum-Mode"); r.Key == "base/1/0/1.png" && (mode == "ENABLED") != (r.Header.Get("Range") == "") {
			t.Errorf("checksum mode %q with Range %q", mode, r.Header.Get("Range"))
		}
	}
}

func TestTimeouts(t *testing.T) {
	at := int64(100)
	for name, tc := range map[string]struct {
		fault fakeaws.Fault
		want  error
		took  time.Duration
	}{
		"no headers":          {fakeaws.Fault{HangBeforeHeaders: true}, tile.ErrTimeout, 30 * time.Second},
		"no more body":        {fakeaws.Fault{HangAt: &at}, tile.ErrTimeout, 10 * time.Second},
		"slow but moving":     {fakeaws.Fault{Drip: &fakeaws.Drip{Chunk: 2044, Pause: 9 * time.Second}}, nil, 90 * time.Second},
		"slow first byte":     {fakeaws.Fault{Delay: 29 * time.Second}, nil, 29 * time.Second},
		"dripping error page": {fakeaws.Fault{Status: http.StatusBadRequest, Code: "Whatever", Drip: &fakeaws.Drip{Chunk: 1, Pause: 9 * time.Second}}, tile.ErrBadAnswer, 30 * time.Second},
		"dripping 404":        {fakeaws.Fault{Status: http.StatusNotFound, Code: "NoSuchKey", Drip: &fakeaws.Drip{Chunk: 1, Pause: 9 * time.Second}}, tile.ErrBadAnswer, 30 * time.Second},
		"hanging error page":  {fakeaws.Fault{Status: http.StatusInternalServerError, HangAt: &at}, tile.ErrTimeout, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustFetch(t)
				tc.fault.Op = "GetObject"
				remove := w.Inject(tc.fault)
				begun := time.Now()
				_, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
				if took := time.Since(begun); !errors.Is(err, tc.want) || took < tc.took || took > tc.took+5*time.Second {
					t.Errorf("got %v after %s, want %v after %s", err, took, tc.want, tc.took)
				}
				remove()
				w.mustFetch(t)
			})
		})
	}
}

func TestSlowReaderIsNoTimeoutOfS3(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		o, err := w.tiles.Fetch(t.Context(), tile101, tile.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = o.Body.Close() }()
		piece := make([]byte, 3000)
		for {
			_, err := o.Body.Read(piece)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			pass(time.Minute)
		}
	})
}

func TestTheCallersContextStopsEverything(t *testing.T) {
	at := int64(100)
	for name, fault := range map[string]fakeaws.Fault{
		"before the headers": {HangBeforeHeaders: true},
		"within the body":    {HangAt: &at},
		"between retries":    {Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.mustFetch(t)
				fault.Op = "GetObject"
				defer w.Inject(fault)()
				ctx, cancel := context.WithCancel(t.Context())
				failed := make(chan error)
				go func() {
					_, _, err := w.fetch(ctx, tile101, tile.Condition{})
					failed <- err
				}()
				synctest.Wait()
				left := time.Now()
				cancel()
				if err := <-failed; !errors.Is(err, context.Canceled) || time.Since(left) > 0 {
					t.Errorf("got %v after %s", err, time.Since(left))
				}
				deadline, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				defer cancel()
				if _, _, err := w.fetch(deadline, tile101, tile.Condition{}); err == nil || time.Since(left) > 4*time.Millisecond {
					t.Errorf("with a deadline got %v after %s", err, time.Since(left))
				}
			})
		})
	}
}

// countdown is a context that ends after a number of calls of Err. It ends between any two lines of code without a race.
type countdown struct {
	context.Context
	looks *atomic.Int64 // calls of Err that are left before the end
}

func (c countdown) Err() error {
	if c.looks.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// The caller may leave between any two looks at its context, also while S3's error document is read.
func TestCallerLeavesBetweenTwoLooks(t *testing.T) {
	tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, "<Error><Code>Whatever</Code></Error>")
	})
	for n := range int64(30) {
		ctx := countdown{t.Context(), new(atomic.Int64)}
		ctx.looks.Store(n)
		_, err := tiles.Fetch(ctx, tile101, tile.Condition{})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, tile.ErrBadAnswer) {
			t.Errorf("leaving at look %d: got %v", n, err)
		}
	}
}

func TestConnectionRefused(t *testing.T) {
	w := start(t, nil)
	if _, _, err := w.fetch(t.Context(), tile101, tile.Condition{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := w.fetch(t.Context(), tile101, tile.Condition{})
	if !errors.Is(err, tile.ErrUnreachable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("got %v", err)
	}
}

// A bubble does not end while a goroutine is left, so that this test also finds leaks.
func TestConnectionsAreReused(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		synctest.Wait() // until the probes at the start, which use connections of their own, have ended
		dialled := w.dialled.Load()
		for range 50 {
			w.mustFetch(t)
			_, _, err := w.fetch(t.Context(), tile.Key{Z: 9}, tile.Condition{})
			if !errors.Is(err, tile.ErrMissing) {
				t.Fatal(err)
			}
		}
		if n := w.dialled.Load() - dialled; n > 0 {
			t.Errorf("%d new connections for requests one after another", n)
		}
	})
}

func TestEndlessErrorDocumentIsCutOff(t *testing.T) {
	var sent atomic.Int64
	tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		for {
			n, err := w.Write(bytes.Repeat([]byte("<Error>"), 1000))
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	_, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
	if err == nil || sent.Load() > 8<<20 {
		t.Errorf("got %v after %d bytes", err, sent.Load())
	}
}

// A part that does not say where it belongs is not the whole object.
func TestPartWithoutContentRangeIsABadAnswer(t *testing.T) {
	tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusPartialContent)
		_, _ = io.WriteString(w, "a part")
	})
	_, _, err := read(tiles.Fetch(t.Context(), tile101, tile.Condition{}))
	if !errors.Is(err, tile.ErrBadAnswer) {
		t.Errorf("got %v, want %v", err, tile.ErrBadAnswer)
	}
}

// S3's checksum of an object also holds for an object that came in parts.
func TestChecksumOfAnObjectInParts(t *testing.T) {
	body := content(1)
	sum := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(body)))
	tiles := stub(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Checksum-Crc32", sum)
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body[:1000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	object, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.ReadAll(object.Body)
	if !errors.Is(err, tile.ErrUnreachable) {
		t.Errorf("got %v, want %v", err, tile.ErrUnreachable)
	}
	_ = object.Body.Close()
	if err := object.Check(body); err != nil {
		t.Errorf("the object itself: %v", err)
	}
	if err := object.Check(bytes.ToUpper(body)); !errors.Is(err, tile.ErrBadAnswer) {
		t.Errorf("got %v, want %v", err, tile.ErrBadAnswer)
	}
}
