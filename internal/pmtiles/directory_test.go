package pmtiles_test

import (
	"bytes"
	"errors"
	"math"
	"runtime"
	"testing"

	"tilegate/internal/pmtiles"
)

const (
	maxID  = (1<<62-1)/3 - 1
	limit  = 1 << 20
	max64  = math.MaxUint64
	max32  = math.MaxUint32
	entry  = 24
	header = 24 // of a Directory: its slice
)

// directoryFaults are directories that no writer makes, before they are compressed.
var directoryFaults = []struct {
	name string
	b    []byte
	says string
}{
	{"nothing", nil, "the number of entries is missing"},
	{"a count that is cut off", []byte{0x80}, "the number of entries is missing"},
	{"a count of 65 bits", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02}, "the number of entries is missing"},
	{"2^60 entries in no bytes", varints(1 << 60), "1152921504606846976 entries cannot fit in 0 bytes; each takes at least 4"},
	{"2^64-1 entries", varints(max64, 1, 1, 1, 1), "18446744073709551615 entries cannot fit in 4 bytes"},
	{"one entry more than the bytes hold", varints(3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1), "3 entries cannot fit in 11 bytes"},
	{"one id twice", varints(2, 5, 0, 1, 1, 9, 9, 1, 0), "entry 1: the id 5 is that of the previous entry"},
	{"an id beyond zoom 30", varints(1, maxID+1, 1, 9, 1), "entry 0: the id is after the last one of zoom 30"},
	{"ids that overflow", varints(2, 5, max64-2, 1, 1, 9, 9, 1, 0), "entry 1: the id is after the last"},
	{"ids that are cut off", []byte{2, 5, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, "entry 1: the id is truncated"},
	{"runs that overlap", varints(2, 5, 3, 4, 1, 9, 9, 1, 0), "entry 0: a run of 4 tiles from id 5 must end before id 8"},
	{"a run beyond zoom 30", varints(1, maxID, 2, 9, 1), "entry 0: a run of 2 tiles"},
	{"a run of 33 bits", varints(1, 5, max32+1, 9, 1), "entry 0: the run length is truncated or over 32 bits"},
	{"a run that overflows the id", varints(1, 5, max64-2, 9, 1), "entry 0: the run length"},
	{"runs that are cut off", append(varints(2, 5, 3, 1), 0x80, 0x80, 0x80, 0x80, 0x80), "entry 1: the run length is truncated"},
	{"a length of 0", varints(2, 5, 3, 1, 1, 9, 0, 1, 0), "entry 1: the length is 0"},
	{"a leaf's length of 0", varints(1, 5, 0, 0, 1), "entry 0: the length is 0"},
	{"a length of 33 bits", varints(1, 5, 1, max32+1, 1), "entry 0: the length is truncated or over 32 bits"},
	{"lengths that are cut off", append(varints(2, 5, 3, 1, 1, 9), 0x80, 0x80, 0x80, 0x80), "entry 1: the length is truncated"},
	{"the first offset behind the entry before", varints(1, 5, 1, 9, 0), "entry 0: the offset refers to the previous entry, and there is none"},
	{"an offset of 2^62", varints(1, 5, 1, 9, 1<<62), "entry 0: the offset is 4611686018427387903, which is too large"},
	{"an offset that overflows", varints(1, 5, 1, 9, max64), "entry 0: the offset is 18446744073709551614"},
	{"offsets that overflow by what is before", varints(2, 5, 3, 1, 1, max32, 9, 1<<62-1, 0), "entry 1: the offset is"},
	{"offsets that are cut off", append(varints(2, 5, 3, 1, 1, 9, 9), 0x80, 0x80), "entry 0: the offset is truncated"},
	{"the last offset missing", varints(2, 5, 3, 1, 1, 200, 9, 1), "entry 1: the offset is truncated"},
	{"bytes behind the last entry", varints(1, 5, 1, 9, 1, 0), "1 bytes after the last of 1 entries"},
}

func TestDirectoryFaults(t *testing.T) {
	for _, test := range directoryFaults {
		for _, c := range compressions {
			t.Run(test.name+" "+c.String(), func(t *testing.T) {
				_, err := pmtiles.DecodeDirectory(compress(t, test.b, c), c, limit)
				wantFault(t, err, test.says)
			})
		}
	}
}

func TestDirectoryIsReadAlikeInEachCompression(t *testing.T) {
	// Entries of ids 5-8, 10 and 20, and a leaf from 30 on; the third has the second's bytes.
	plain := varints(4, 5, 5, 10, 10, 4, 1, 1, 0, 100, 50, 50, 700, 1, 0, 101, 4001)
	for _, c := range append(compressions, pmtiles.Unknown) {
		t.Run(c.String(), func(t *testing.T) {
			b := plain
			if c != pmtiles.Unknown {
				b = compress(t, plain, c)
			}
			d, err := pmtiles.DecodeDirectory(b, c, limit)
			if err != nil {
				t.Fatal(err)
			}
			checkFind(t, d)
		})
	}
	t.Run("unknown and gzipped", func(t *testing.T) {
		d, err := pmtiles.DecodeDirectory(compress(t, plain, pmtiles.Gzip), pmtiles.Unknown, limit)
		if err != nil {
			t.Fatal(err)
		}
		checkFind(t, d)
	})
}

func checkFind(t *testing.T, d *pmtiles.Directory) {
	t.Helper()
	run := pmtiles.Entry{ID: 5, Offset: 0, Length: 100, Run: 4}
	ten := pmtiles.Entry{ID: 10, Offset: 100, Length: 50, Run: 1}
	twenty := pmtiles.Entry{ID: 20, Offset: 100, Length: 50, Run: 1}
	leaf := pmtiles.Entry{ID: 30, Offset: 4000, Length: 700}
	tests := []struct {
		id   uint64
		want pmtiles.Entry // zero: absent
	}{
		{0, pmtiles.Entry{}},
		{4, pmtiles.Entry{}},
		{5, run},
		{8, run},
		{9, pmtiles.Entry{}},
		{10, ten},
		{11, pmtiles.Entry{}},
		{20, twenty},
		{29, pmtiles.Entry{}},
		{30, leaf},
		{max64, leaf},
	}
	for _, test := range tests {
		e, ok := d.Find(test.id)
		if ok != (test.want != pmtiles.Entry{}) || ok && e != test.want {
			t.Errorf("Find(%d): got %+v, %t, want %+v", test.id, e, ok, test.want)
		}
	}
	if d.Len() != 4 || d.Size() != header+4*entry {
		t.Errorf("got %d entries, %d bytes, want 4 and %d", d.Len(), d.Size(), header+4*entry)
	}
}

func TestDirectoryOfNoEntries(t *testing.T) {
	d, err := pmtiles.DecodeDirectory([]byte{0}, pmtiles.None, limit)
	if err != nil {
		t.Fatal(err)
	}
	if e, ok := d.Find(0); ok || d.Len() != 0 {
		t.Errorf("got %+v and %d entries", e, d.Len())
	}
}

// manyEntries has tiles of all ids up to count, of one byte each.
func manyEntries(count int) []byte {
	b := append(varints(uint64(count)), 0)
	b = append(b, bytes.Repeat([]byte{1}, 3*count-1)...) // ids, runs, lengths
	b = append(b, 1)
	return append(b, make([]byte, count-1)...)
}

func TestDirectoryIsBounded(t *testing.T) {
	const count = 10_000
	b := manyEntries(count)
	exactly := int64(header + count*entry)
	for _, c := range compressions {
		t.Run(c.String(), func(t *testing.T) {
			d, err := pmtiles.DecodeDirectory(compress(t, b, c), c, exactly)
			if err != nil || d.Size() != exactly {
				t.Fatalf("got %v", err)
			}
			_, err = pmtiles.DecodeDirectory(compress(t, b, c), c, exactly-1)
			wantFault(t, err, "its 10000 entries need 240024 bytes of memory")
			if !errors.Is(err, pmtiles.ErrTooLarge) {
				t.Errorf("got %v, want ErrTooLarge", err)
			}
			_, err = pmtiles.DecodeDirectory(compress(t, b, c), c, int64(len(b))-1)
			wantFault(t, err, "")
			if !errors.Is(err, pmtiles.ErrTooLarge) {
				t.Errorf("got %v, want ErrTooLarge", err)
			}
		})
	}
}

// allocated is how many bytes f allocates, freed ones included.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// decoderMemory is the most that a decoder allocates for itself, whatever it decodes.
var decoderMemory = map[pmtiles.Compression]int64{
	pmtiles.Unknown: 1 << 20,
	pmtiles.None:    1 << 20,
	pmtiles.Gzip:    1 << 20,
	pmtiles.Brotli:  34 << 20,
	pmtiles.Zstd:    12 << 20,
}

func TestAttackADirectoryThatClaimsMuchAllocatesLittle(t *testing.T) {
	for _, b := range [][]byte{varints(1 << 60), varints(max64), varints(1<<27, 0, 1, 1, 1), varints(1<<40, 0)} {
		if got := allocated(func() {
			if _, err := pmtiles.DecodeDirectory(b, pmtiles.None, 1<<40); err == nil {
				t.Error("accepted")
			}
		}); got > 16<<10 {
			t.Errorf("%x: allocates %d bytes", b, got)
		}
	}
}

func TestAttackADecompressionBombStopsAtTheLimit(t *testing.T) {
	const size = 32 << 20
	for _, c := range compressions[1:] {
		t.Run(c.String(), func(t *testing.T) {
			bomb := compress(t, append(varints(size/4-8), make([]byte, size)...), c)
			t.Logf("%d bytes hold %d", len(bomb), size)
			var err error
			got := allocated(func() { _, err = pmtiles.DecodeDirectory(bomb, c, limit) })
			if !errors.Is(err, pmtiles.ErrTooLarge) {
				t.Errorf("got %v, want ErrTooLarge", err)
			}
			wantFault(t, err, "PMTiles directory: too large when decompressed ("+c.String()+")")
			t.Logf("allocates %d bytes", got)
			if got > 4*limit+decoderMemory[c] {
				t.Errorf("allocates %d bytes", got)
			}
		})
	}
}

// What is measured is what decoding takes, and what decoding refuses as too large is refused before.
func TestMeasureDirectory(t *testing.T) {
	const count = 10_000
	b := manyEntries(count)
	exactly := int64(header + count*entry)
	for _, c := range compressions {
		unpacked, size, err := pmtiles.MeasureDirectory(compress(t, b, c), c, exactly)
		if err != nil || unpacked != int64(len(b)) || size != exactly {
			t.Errorf("%v: got %d, %d, error %v, want %d, %d", c, unpacked, size, err, len(b), exactly)
		}
		for _, limit := range []int64{exactly - entry, int64(len(b)) - 1, 24} {
			if _, _, err := pmtiles.MeasureDirectory(compress(t, b, c), c, limit); !errors.Is(err, pmtiles.ErrTooLarge) {
				t.Errorf("%v, limit %d: got %v, want ErrTooLarge", c, limit, err)
			}
		}
	}
	for _, b := range [][]byte{nil, {0x80}} {
		_, _, err := pmtiles.MeasureDirectory(b, pmtiles.None, limit)
		wantFault(t, err, "the number of entries is missing")
	}
	_, _, err := pmtiles.MeasureDirectory([]byte("no gzip"), pmtiles.Gzip, limit)
	wantFault(t, err, "PMTiles directory: it cannot be decompressed (gzip)")
}

func TestAttackADecompressionBombIsMeasuredInLittleMemory(t *testing.T) {
	const size = 32 << 20
	for _, c := range compressions[1:] {
		bomb := compress(t, append(varints(1), make([]byte, size)...), c)
		var n int64
		var err error
		got := allocated(func() { n, err = pmtiles.MeasureMetadata(bomb, c) })
		if !errors.Is(err, pmtiles.ErrTooLarge) {
			t.Errorf("%v: got %d, %v, want ErrTooLarge", c, n, err)
		}
		if got > decoderMemory[c] {
			t.Errorf("%v: metadata: allocates %d bytes", c, got)
		}
		got = allocated(func() { _, _, err = pmtiles.MeasureDirectory(bomb, c, 2*size) })
		if err != nil || got > decoderMemory[c] {
			t.Errorf("%v: directory: allocates %d bytes, error %v", c, got, err)
		}
	}
}

func TestFindAllocatesNothing(t *testing.T) {
	d, err := pmtiles.DecodeDirectory(manyEntries(10_000), pmtiles.None, limit)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { d.Find(4711) }); n != 0 {
		t.Errorf("got %v allocations", n)
	}
}
