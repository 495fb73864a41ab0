package shared_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tilegate/internal/shared"
	"tilegate/internal/tile"
)

func TestPurges(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var forgotten []string
	with := func() *shared.Purges {
		return &shared.Purges{
			Forget: func(p tile.Purge) { forgotten = append(forgotten, p.Tileset) },
			Clock:  func() time.Time { return now },
		}
	}
	apply := func(p *shared.Purges, record []byte, wantNeeded bool, want ...string) {
		t.Helper()
		forgotten = nil
		needed, err := p.Apply(record)
		if err != nil || needed != wantNeeded || !slices.Equal(forgotten, want) {
			t.Errorf("%s: got needed %v, %v and forgotten %q; want %v and %q", record, needed, err, forgotten, wantNeeded, want)
		}
	}
	a, b := with(), with()
	first := a.Add(tile.Purge{Tileset: "basemap"})
	apply(a, first, true) // its own does not purge again
	apply(b, first, true, "basemap")
	apply(b, first, true) // nor does one that is read again
	second := b.Add(tile.Purge{Tileset: "basemap"})
	if string(second) == string(first) {
		t.Error("a second purge in the same moment is the same record")
	}
	apply(a, second, true, "basemap")
	apply(a, first, false) // an earlier one says nothing more
	if got := a.Known(); len(got) != 1 || string(got[0]) != string(second) {
		t.Errorf("known: got %q, want the second alone", got)
	}
	now = now.Add(9 * 24 * time.Hour)
	apply(with(), second, false)
	if got := a.Known(); got != nil {
		t.Errorf("known after nine days: got %q, want none", got)
	}
	for _, text := range []string{"", "[]", "{}", `{"at":1}`, `{"tileset":1}`, `{"area":{},"at":1}`, `{"area":{"tileset":"a","zoom":"2-1","bbox":[0,0,1,1]},"at":1}`, `{"area":{"tileset":"a","zoom":"1-2"},"at":1}`} {
		if needed, err := a.Apply([]byte(text)); err == nil || !needed {
			t.Errorf("%q: got needed %v, %v; want an error, and that it is kept", text, needed, err)
		}
	}
}

func area(zooms string, soft bool, box ...float64) tile.Purge {
	z, err1 := tile.ParseZoomRange(zooms)
	b, err2 := tile.ParseBox(box)
	if err1 != nil || err2 != nil {
		panic("not an area")
	}
	return tile.Purge{Tileset: "basemap", Tiles: tile.NewTiles(z, b), Soft: soft}
}

func TestPurgesOfAreas(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var told []tile.Purge
	with := func() *shared.Purges {
		return &shared.Purges{Forget: func(p tile.Purge) { told = append(told, p) }, Clock: func() time.Time { return now }}
	}
	inside, outside := tile.Key{Tileset: "basemap", Z: 10, X: 550, Y: 335}, tile.Key{Tileset: "basemap", Z: 10, X: 10, Y: 335}
	if berlin := area("10-14", false, 13, 52, 14, 53); !berlin.Holds(&inside) || berlin.Holds(&outside) {
		t.Fatal("the tiles of the test are not where they should be")
	}
	a, b := with(), with()
	check := func(what string, key tile.Key, want shared.Epoch) {
		t.Helper()
		for name, p := range map[string]*shared.Purges{"where it was made": a, "elsewhere": b} {
			if got := p.Epoch(&key); got != want {
				t.Errorf("%s, %s: got %+v, want %+v", what, name, got, want)
			}
		}
	}
	apply := func(p *shared.Purges, record []byte, wantNeeded bool, wantTold int) {
		t.Helper()
		told = nil
		if needed, err := p.Apply(record); err != nil || needed != wantNeeded || len(told) != wantTold {
			t.Errorf("%s: got needed %v, %v, told %d times; want %v and %d", record, needed, err, len(told), wantNeeded, wantTold)
		}
	}
	at := now.UnixNano()
	hard := a.Add(area("10-14", false, 13, 52, 14, 53))
	apply(b, hard, true, 1)
	if len(told) == 1 && (!told[0].Holds(&inside) || told[0].Holds(&outside) || told[0].Soft) {
		t.Errorf("told of %+v", told[0])
	}
	apply(b, hard, true, 0)
	check("inside", inside, shared.Epoch{Forgotten: at})
	check("outside", outside, shared.Epoch{})
	soft := a.Add(area("0-22", true, -180, -90, 180, 90))
	apply(b, soft, true, 1)
	check("inside, then soft", inside, shared.Epoch{Forgotten: at, Outdated: at + 1})
	check("outside, then soft", outside, shared.Epoch{Outdated: at + 1})
	if got := b.Known(); len(got) != 2 || string(got[0]) != string(hard) || string(got[1]) != string(soft) {
		t.Errorf("known: got %q", got)
	}
	again := a.Add(area("10-14", false, 13, 52, 14, 53))
	apply(b, again, true, 1)
	apply(b, hard, false, 0) // the later one says it all
	check("inside, again", inside, shared.Epoch{Forgotten: at + 2, Outdated: at + 1})
	whole := b.Add(tile.Purge{Tileset: "basemap"})
	apply(a, whole, true, 1)
	apply(a, again, false, 0)
	apply(a, soft, false, 0)
	check("all", outside, shared.Epoch{Forgotten: at + 3})
	if got := a.Known(); len(got) != 1 {
		t.Errorf("known after a purge of all: got %q", got)
	}
	now = now.Add(9 * 24 * time.Hour)
	if got := a.Known(); got != nil || a.Epoch(&inside) != (shared.Epoch{}) {
		t.Errorf("after nine days: got %q, %v", got, a.Epoch(&inside))
	}
}

// A version that knows purges of whole tilesets alone must not take one of an area for that: it would forget the whole
// tileset, and tell all others to.
func TestOlderVersionsDoNotMisreadAreas(t *testing.T) {
	for _, p := range []tile.Purge{area("10-14", false, 13, 52, 14, 53), area("0-30", true, 170, -10, -170, 10), {Tileset: "basemap", Soft: true}} {
		record := (&shared.Purges{}).Add(p)
		var old struct {
			Tileset string `json:"tileset"`
			At      int64  `json:"at"`
		}
		if err := json.Unmarshal(record, &old); err != nil || old.Tileset != "" {
			t.Errorf("%s: an older version reads %+v, %v; want one without a tileset, which it ignores", record, old, err)
		}
	}
	if got, want := string((&shared.Purges{Clock: func() time.Time { return time.Unix(0, 7) }}).Add(tile.Purge{Tileset: "basemap"})), `{"tileset":"basemap","at":7}`; got != want {
		t.Errorf("a purge of a whole tileset: got %s, want %s as ever", got, want)
	}
}

// However many areas are purged, what is kept is bounded, no purge is lost, and none is told to others that nobody made.
func TestManyAreasAreBounded(t *testing.T) {
	at := int64(0)
	told := 0
	p := &shared.Purges{Clock: func() time.Time { at++; return time.Unix(0, at) }}
	b := &shared.Purges{Clock: p.Clock, Forget: func(tile.Purge) { told++ }}
	var records [][]byte
	var made []tile.Purge
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		west, south := random.Float64()*350-180, random.Float64()*160-80
		purge := area([]string{"0-22", "10-14", "12-12"}[random.IntN(3)], random.IntN(4) == 0, west, south, west+random.Float64()*2, south+random.Float64())
		made = append(made, purge)
		records = append(records, p.Add(purge))
	}
	for range 2 {
		for i, record := range records {
			covered := slices.ContainsFunc(made[i+1:], func(later tile.Purge) bool { return later.Covers(&made[i]) })
			if needed, err := b.Apply(record); err != nil || !needed && !covered {
				t.Fatalf("record %d: got needed %v, %v", i, needed, err)
			}
		}
	}
	if told != len(records) {
		t.Errorf("told of %d purges, want each of %d once", told, len(records))
	}
	for name, known := range map[string][][]byte{"where they were made": p.Known(), "elsewhere": b.Known()} {
		if len(known) == 0 || len(known) > 256 {
			t.Errorf("%s: %d are known, want some and 256 at most", name, len(known))
		}
		for _, record := range known {
			if !slices.ContainsFunc(records, func(r []byte) bool { return string(r) == string(record) }) {
				t.Errorf("%s: nobody has made %s", name, record)
			}
		}
	}
	for i, purge := range made {
		var record struct {
			At int64 `json:"at"`
		}
		if err := json.Unmarshal(records[i], &record); err != nil {
			t.Fatal(err)
		}
		lon, lat := purge.Tiles.Box.Center()
		key := tile.Key{Tileset: "basemap", Z: 12}
		key.X, key.Y = tile.At(key.Z, lon, lat)
		for name, side := range map[string]*shared.Purges{"where it was made": p, "elsewhere": b} {
			got := side.Epoch(&key)
			if purge.Soft && max(got.Outdated, got.Forgotten) < record.At || !purge.Soft && got.Forgotten < record.At {
				t.Errorf("%s: purge %d is lost: %+v, want %d", name, i, got, record.At)
			}
		}
	}
}
