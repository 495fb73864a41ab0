package proxy_test

import (
	"strings"
	"testing"

	"tilegate/internal/tile"
)

func TestPurgeRefusesWhatIsNotClear(t *testing.T) {
	w := start(t)
	admin := w.admin("")
	for _, test := range []struct {
		name, body string
		status     int
		says       string // in the detail
	}{
		{"a backwards range", `{"tileset":"basemap","zoom":"14-10"}`, 400, "zoom must be"},
		{"a zoom too deep", `{"tileset":"basemap","zoom":"10-31"}`, 400, "zoom must be"},
		{"one zoom", `{"tileset":"basemap","zoom":"10"}`, 400, "zoom must be"},
		{"no zoom", `{"tileset":"basemap","zoom":""}`, 400, "zoom must be"},
		{"a number for a zoom", `{"tileset":"basemap","zoom":10}`, 400, `"zoom"`},
		{"null for a zoom", `{"tileset":"basemap","zoom":null}`, 400, `"zoom"`},
		{"west of the world", `{"tileset":"basemap","bbox":[-181,0,1,1]}`, 400, "bbox[0] is not within -180 to 180"},
		{"north of the world", `{"tileset":"basemap","bbox":[0,0,1,91]}`, 400, "bbox[3] is not within -90 to 90"},
		{"beyond the edge of the map", `{"tileset":"basemap","bbox":[0,86,1,90]}`, 400, "bbox has no area on the map"},
		{"south above north", `{"tileset":"basemap","bbox":[0,1,1,0]}`, 400, "bbox must be"},
		{"a line", `{"tileset":"basemap","bbox":[0,0,0,1]}`, 400, "bbox must be"},
		{"three numbers", `{"tileset":"basemap","bbox":[0,0,1]}`, 400, "bbox must be"},
		{"five numbers, one of them out of range", `{"tileset":"basemap","bbox":[0,0,1,99,1]}`, 400, "bbox must be"},
		{"no numbers", `{"tileset":"basemap","bbox":[]}`, 400, "bbox must be"},
		{"null in a box", `{"tileset":"basemap","bbox":[0,0,1,null]}`, 400, `"bbox"`},
		{"null for a box", `{"tileset":"basemap","bbox":null}`, 400, `"bbox"`},
		{"a box that is text", `{"tileset":"basemap","bbox":"0,0,1,1"}`, 400, `"bbox"`},
		{"a number that is none", `{"tileset":"basemap","bbox":[0,0,1,1e999]}`, 400, `"bbox"`},
		{"soft as text", `{"tileset":"basemap","soft":"true"}`, 400, `"soft"`},
		{"an unknown member", `{"tileset":"basemap","zooms":"1-2"}`, 400, `"zooms"`},
		{"an area of a bundle", `{"bundle":"styles","bbox":[0,0,1,1]}`, 400, "bbox"},
		{"zooms of a bundle", `{"bundle":"styles","zoom":"0-1"}`, 400, "zoom"},
		{"an area of nothing", `{"bbox":[0,0,1,1]}`, 404, "tileset"},
		{"an area of an unknown tileset", `{"tileset":"nowhere","bbox":[0,0,1,1]}`, 404, "tileset"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := admin.ask("POST", "/admin/purge", test.body)
			if got.status != test.status || !strings.Contains(got.problem(t).Detail, test.says) {
				t.Errorf("got %d %s; want %d and %q", got.status, got.body, test.status, test.says)
			}
		})
	}
}

func TestPurgeByArea(t *testing.T) {
	w := start(t)
	admin := w.admin("")
	w.origin.put("basemap", 1, 0, 0, tilePNG)
	w.origin.put("basemap", 1, 1, 0, tilePNG)
	status := func(x, want string) {
		t.Helper()
		if got := w.get("/tiles/basemap/1/"+x+"/0", w.bearer()...).header.Get("Cache-Status"); !strings.Contains(got, want) {
			t.Errorf("column %s: got %q, want %q", x, got, want)
		}
	}
	purge := func(body string, want int) {
		t.Helper()
		var purged struct{ Purged int }
		admin.ask("POST", "/admin/purge", body).decode(t, &purged)
		if purged.Purged != want {
			t.Errorf("%s: purged %d entries, want %d", body, purged.Purged, want)
		}
	}
	status("0", "fwd=uri-miss")
	status("1", "fwd=uri-miss")
	purge(`{"tileset":"basemap","zoom":"0-22","bbox":[13,52,14,53]}`, 1)
	status("0", "hit")
	status("1", "fwd=uri-miss")
	purge(`{"tileset":"basemap","zoom":"2-22","bbox":[-180,-90,180,90]}`, 0)
	purge(`{"tileset":"basemap","bbox":[179,0,-179,10]}`, 2)
	status("0", "fwd=uri-miss")
	status("1", "fwd=uri-miss")
	purge(`{"tileset":"basemap","zoom":"1-1","soft":true}`, 2)
	status("0", "hit; ttl=0") // and no negative one: no time has passed on the test's clock
}

// A purge makes an archive be asked about, here and where another instance has told of it. A soft one serves what is held meanwhile.
func TestPurgeOfAnArchive(t *testing.T) {
	for name, purge := range map[string]func(w *world){
		"all":                 func(w *world) { w.admin("").ask("POST", "/admin/purge", `{"tileset":"streets"}`) },
		"an area":             func(w *world) { w.admin("").ask("POST", "/admin/purge", `{"tileset":"streets","bbox":[0,0,10,60]}`) },
		"soft":                func(w *world) { w.admin("").ask("POST", "/admin/purge", `{"tileset":"streets","soft":true}`) },
		"at another instance": func(w *world) { w.proxy.Forget(tile.Purge{Tileset: "streets"}) },
		"soft at another instance": func(w *world) {
			w.proxy.Forget(tile.Purge{Tileset: "streets", Soft: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, file := startArchive(t, streets(t, "first"), nil)
			tileOf := func() string { return w.get("/tiles/streets/5/16/10.mvt", w.bearer()...).body }
			first := tileOf()
			file.put(streets(t, "second"))
			if got := tileOf(); got != first {
				t.Fatal("the archive is asked about at each request")
			}
			asked := make(chan struct{}, 100)
			file.onRequest(func(int) error { asked <- struct{}{}; return nil })
			purge(w)
			got := tileOf()
			if strings.Contains(name, "soft") {
				if got != first {
					t.Error("a soft purge did not serve what is held")
				}
				<-asked // the question whether it has changed
				for got == first {
					got = tileOf()
				}
			}
			if !strings.Contains(got, "second") {
				t.Errorf("got %q, want the new archive's tile", got)
			}
		})
	}
}
