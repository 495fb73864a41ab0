package shared_test

import (
	"slices"
	"testing"
	"time"

	"tilegate/internal/shared"
)

func TestPurges(t *testing.T) {
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	var forgotten []string
	with := func() *shared.Purges {
		return &shared.Purges{
			Forget: func(tileset string) { forgotten = append(forgotten, tileset) },
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
	first := a.Add("basemap")
	apply(a, first, true) // its own does not purge again
	apply(b, first, true, "basemap")
	apply(b, first, true) // nor does one that is read again
	second := b.Add("basemap")
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
	for _, text := range []string{"", "[]", "{}", `{"at":1}`, `{"tileset":1}`} {
		if needed, err := a.Apply([]byte(text)); err == nil || !needed {
			t.Errorf("%q: got needed %v, %v; want an error, and that it is kept", text, needed, err)
		}
	}
}
