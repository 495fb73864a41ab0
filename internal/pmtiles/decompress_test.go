package pmtiles_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"tilegate/internal/pmtiles"
)

// repetitive is something that compresses, and takes several reads.
var repetitive = bytes.Repeat([]byte("a tile of some kind, "), 20_000)

func TestReader(t *testing.T) {
	tests := []struct {
		name   string
		coding pmtiles.Compression
		stored []byte
	}{
		{"none", pmtiles.None, repetitive},
		{"gzip", pmtiles.Gzip, compress(t, repetitive, pmtiles.Gzip)},
		{"brotli", pmtiles.Brotli, compress(t, repetitive, pmtiles.Brotli)},
		{"zstd", pmtiles.Zstd, compress(t, repetitive, pmtiles.Zstd)},
		{"unknown, gzip by its first bytes", pmtiles.Unknown, compress(t, repetitive, pmtiles.Gzip)},
		{"unknown, else none", pmtiles.Unknown, repetitive},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for name, from := range map[string]io.Reader{
				"whole":        bytes.NewReader(test.stored),
				"byte by byte": iotest.OneByteReader(bytes.NewReader(test.stored)),
				"EOF at once":  iotest.DataErrReader(bytes.NewReader(test.stored)),
			} {
				r := pmtiles.NewReader(from, test.coding, int64(len(repetitive)))
				got, err := io.ReadAll(r)
				if err != nil || !bytes.Equal(got, repetitive) {
					t.Errorf("%s: got %d bytes, %v, want %d", name, len(got), err, len(repetitive))
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
					t.Errorf("%s: after the end: got %d, %v", name, n, err)
				}
				if err := r.Close(); err != nil {
					t.Error(err)
				}
				if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil {
					t.Errorf("%s: after Close: got %d, %v", name, n, err)
				}
			}
		})
	}
}

func TestReaderOfShortTiles(t *testing.T) {
	for _, text := range []string{"", "x", "xy"} {
		for _, c := range append(compressions, pmtiles.Unknown) {
			stored := []byte(text)
			if c != pmtiles.Unknown {
				stored = compress(t, stored, c)
			}
			got, err := io.ReadAll(pmtiles.NewReader(bytes.NewReader(stored), c, 2))
			if err != nil || string(got) != text {
				t.Errorf("%v: got %q, %v, want %q", c, got, err, text)
			}
		}
	}
}

func TestReaderStopsAtItsLimit(t *testing.T) {
	const limit = 1000
	for _, c := range append(compressions, pmtiles.Unknown) {
		stored := repetitive
		if c != pmtiles.Unknown {
			stored = compress(t, repetitive, c)
		}
		got, err := io.ReadAll(pmtiles.NewReader(bytes.NewReader(stored), c, limit))
		if !errors.Is(err, pmtiles.ErrTooLarge) || !bytes.Equal(got, repetitive[:limit]) {
			t.Errorf("%v: got %d bytes, %v, want the first %d and ErrTooLarge", c, len(got), err, limit)
		}
		wantFault(t, err, "): over the limit of 1000 bytes")
	}
}

func TestReaderOfWhatIsNotCompressedSo(t *testing.T) {
	for _, c := range compressions[1:] {
		stored := compress(t, repetitive, c)
		for name, b := range map[string][]byte{
			"nothing":        nil,
			"plain text":     []byte("<?xml version='1.0'?>"),
			"one byte short": stored[:len(stored)-1],
			"half":           stored[:len(stored)/2],
			"bytes behind":   append(bytes.Clone(stored), "garbage"...),
		} {
			if c == pmtiles.Zstd && name == "nothing" {
				continue // a sequence of no frames
			}
			_, err := io.ReadAll(pmtiles.NewReader(bytes.NewReader(b), c, pmtiles.MaxTile))
			var fault *pmtiles.FormatError
			if !errors.As(err, &fault) || errors.Is(err, io.EOF) {
				t.Errorf("%v, %s: got %v, want a FormatError that is no EOF", c, name, err)
			}
		}
	}
	_, err := io.ReadAll(pmtiles.NewReader(bytes.NewReader(repetitive), pmtiles.Zstd+1, pmtiles.MaxTile))
	wantFault(t, err, "compression 5 is not known")
}

// A stream that breaks is told from a tile that is broken, in whatever byte it happens.
func TestReaderPassesOnTheStreamsOwnError(t *testing.T) {
	broken := errors.New("connection reset")
	for _, c := range append(compressions, pmtiles.Unknown) {
		stored := repetitive[:2000]
		if c != pmtiles.Unknown {
			stored = compress(t, stored, c)
		}
		for n := range len(stored) {
			from := io.MultiReader(bytes.NewReader(stored[:n]), iotest.ErrReader(broken))
			_, err := io.ReadAll(pmtiles.NewReader(from, c, pmtiles.MaxTile))
			var fault *pmtiles.FormatError
			if !errors.Is(err, broken) || errors.As(err, &fault) {
				t.Fatalf("%v, after %d bytes: got %v, want %v", c, n, err, broken)
			}
		}
	}
}

func TestReaderStartsNoGoroutine(t *testing.T) {
	for _, c := range compressions {
		stored := compress(t, repetitive, c)
		before := runtime.NumGoroutine()
		readers := make([]*pmtiles.Reader, 20)
		for i := range readers {
			readers[i] = pmtiles.NewReader(bytes.NewReader(stored), c, pmtiles.MaxTile)
			if _, err := io.ReadFull(readers[i], make([]byte, 10)); err != nil {
				t.Fatal(err)
			}
		}
		if now := runtime.NumGoroutine(); now > before {
			t.Errorf("%v: %d goroutines, %d before", c, now, before)
		}
		for _, r := range readers {
			_ = r.Close()
		}
	}
}

// frames has more bytes than any window, compressed with a decoder that has to hold the window asked for.
func frames(t *testing.T, c pmtiles.Compression, window int) []byte {
	t.Helper()
	var (
		b   bytes.Buffer
		w   io.WriteCloser
		err error
	)
	if c == pmtiles.Brotli {
		w = brotli.NewWriterOptions(&b, brotli.WriterOptions{LGWin: window})
	} else {
		w, err = zstd.NewWriter(&b, zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	for range 24 << 20 / len(repetitive) {
		if _, err := w.Write(repetitive); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The largest windows that there may be: RFC 9659 has 8 MiB for zstd, RFC 7932 16 MiB for brotli.
func TestReaderHoldsNoMoreThanAWindow(t *testing.T) {
	for c, window := range map[pmtiles.Compression]int{pmtiles.Gzip: 0, pmtiles.Zstd: 8 << 20, pmtiles.Brotli: 24} {
		t.Run(c.String(), func(t *testing.T) {
			stored := compress(t, repetitive, c)
			if window > 0 {
				stored = frames(t, c, window)
			}
			got := allocated(func() {
				if _, err := io.Copy(io.Discard, pmtiles.NewReader(bytes.NewReader(stored), c, pmtiles.MaxTile)); err != nil {
					t.Error(err)
				}
			})
			if t.Logf("allocates %d bytes", got); got > decoderMemory[c] {
				t.Errorf("allocates %d bytes", got)
			}
		})
	}
}

func TestAttackAZstdWindowThatIsTooLarge(t *testing.T) {
	stored := frames(t, pmtiles.Zstd, 16<<20)
	var err error
	got := allocated(func() {
		_, err = io.Copy(io.Discard, pmtiles.NewReader(bytes.NewReader(stored), pmtiles.Zstd, pmtiles.MaxTile))
	})
	wantFault(t, err, "a zstd window over the limit of 8388608 bytes")
	if !errors.Is(err, pmtiles.ErrTooLarge) || got > 1<<20 {
		t.Errorf("got %v, want ErrTooLarge; allocates %d bytes", err, got)
	}
}
