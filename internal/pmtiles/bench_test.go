package pmtiles_test

import (
	"math/rand/v2"
	"testing"

	"tilegate/internal/pmtiles"
)

// leaf is like one of a planet's: some 28,000 entries with lengths and gaps as they come.
func leaf(t testing.TB, c pmtiles.Compression) (b []byte, ids []uint64) {
	t.Helper()
	const count = 28_000
	random := rand.New(rand.NewPCG(1, 2))
	s := tileset{}
	id := uint64(60_000_000)
	content := make([]byte, 2000)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	for i := range count {
		ids = append(ids, id)
		tile := content[random.IntN(1000):]
		tile = tile[:200+random.IntN(800)]
		s[id] = append(varints(uint64(i)), tile...)
		id += 1 + uint64(random.ExpFloat64())
	}
	a := write(t, pmtiles.WriteOptions{InternalCompression: c, LeafEntries: count}, s)
	h, err := pmtiles.ParseHeader(a, int64(len(a)))
	if err != nil {
		t.Fatal(err)
	}
	return a[h.Leaves.Offset:h.Leaves.End()], ids
}

func BenchmarkDecodeLeaf(b *testing.B) {
	for _, c := range compressions {
		b.Run(c.String(), func(b *testing.B) {
			stored, ids := leaf(b, c)
			b.ReportAllocs()
			for b.Loop() {
				d, err := pmtiles.DecodeDirectory(stored, c, maxDirectory)
				if err != nil || d.Len() != len(ids) {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(stored))/float64(len(ids)), "stored-B/entry")
		})
	}
}

func BenchmarkFind(b *testing.B) {
	stored, ids := leaf(b, pmtiles.None)
	d, err := pmtiles.DecodeDirectory(stored, pmtiles.None, maxDirectory)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(3, 4))
	random.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := d.Find(ids[i%len(ids)]); !ok {
			b.Fatal("absent")
		}
		i++
	}
}

func BenchmarkTileID(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := pmtiles.TileID(14, 8190, 5441); !ok {
			b.Fatal("no id")
		}
	}
}

func BenchmarkZXY(b *testing.B) {
	id, _ := pmtiles.TileID(14, 8190, 5441)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, ok := pmtiles.ZXY(id); !ok {
			b.Fatal("no tile")
		}
	}
}
