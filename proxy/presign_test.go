package proxy_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
	"tilegate/proxy"
)

const signedURL = "https://acme.s3.eu-central-1.amazonaws.com/basemap/1/0/0.png?X-Amz-Signature=abc&X-Amz-Security-Token=d%2Fe"

func presigns(w *world) {
	w.origin.presign = func(tileKey) (tile.Signed, error) {
		return tile.Signed{URL: signedURL, Expires: noon.Add(15 * time.Minute).Truncate(time.Second), Constant: 90 * time.Second}, nil
	}
}

type signedObject struct {
	URL       string    `json:"url"`
	ExpiresAt time.Time `json:"expires_at"`
}

func TestPresign(t *testing.T) {
	w := start(t)
	presigns(w)
	file := []string{"Authorization", "Bearer " + w.token("file:report")}
	for path, header := range map[string][]string{
		"/presign/basemap/1/0/0": w.bearer(),
		"/files/report/url":      file,
	} {
		got := w.get(path, header...)
		var signed signedObject
		got.decode(t, &signed)
		if signed.URL != signedURL || !signed.ExpiresAt.Equal(noon.Add(15*time.Minute).Truncate(time.Second)) {
			t.Errorf("%s: got %+v", path, signed)
		}
		if cc := got.header.Get("Cache-Control"); !strings.Contains(cc, "private") || got.header.Get("X-Content-Type-Options") != "nosniff" || got.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %v", path, got.header)
		}
		redirect := w.get(path+"?redirect=1", header...)
		if redirect.status != http.StatusFound || redirect.header.Get("Location") != signedURL || redirect.header.Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(redirect.header.Get("Cache-Control"), "private") {
			t.Errorf("%s: got %d %v", path, redirect.status, redirect.header)
		}
		for _, query := range []string{"redirect=0", "redirect=true", "redirect="} {
			if got := w.get(path+"?"+query, header...); got.status != 200 && got.status != 400 {
				t.Errorf("%s?%s: got %d", path, query, got.status)
			}
		}
	}
	if asked := w.origin.asked(); asked[0].key.Tileset != "basemap" && asked[0].key.Tileset != "file:report" {
		t.Errorf("signed %+v", asked[0].key)
	}
}

// An answer must not be kept for longer than asking again would give the same URL, or it outlives its signature.
func TestPresignedURLIsCachedWithinItsWindow(t *testing.T) {
	for _, test := range []struct {
		constant time.Duration
		want     string
	}{{90 * time.Second, "private, max-age=90"}, {90*time.Second + 900*time.Millisecond, "private, max-age=90"}, {0, "private, no-store"}, {300 * time.Millisecond, "private, no-store"}} {
		w := start(t)
		w.origin.presign = func(tileKey) (tile.Signed, error) {
			return tile.Signed{URL: signedURL, Expires: noon.Add(time.Hour), Constant: test.constant}, nil
		}
		for _, query := range []string{"", "?redirect=1"} {
			if got := w.get("/presign/basemap/1/0/0"+query, w.bearer()...).header.Get("Cache-Control"); got != test.want && got != "private, no-store" {
				t.Errorf("%s%s: got %q, want %q", test.constant, query, got, test.want)
			}
		}
	}
}

func TestPresignForWhom(t *testing.T) {
	w := start(t, func(s *setup) { s.tileset("retina").Presign = nil })
	presigns(w)
	narrow := w.tokenFor("alice", time.Hour, auth.Limits{Tilesets: []string{"basemap", "file:*"}, Zoom: &tile.ZoomRange{Min: 2, Max: 3}})
	for _, test := range []struct {
		name, path string
		header     []string
		want       int
	}{
		{"tile beyond the zooms of the grant", "/presign/basemap/1/0/0", []string{"Authorization", "Bearer " + narrow}, 403},
		{"tile within", "/presign/basemap/2/0/0", []string{"Authorization", "Bearer " + narrow}, 200},
		{"another tileset", "/presign/roads/2/0/0", []string{"Authorization", "Bearer " + narrow}, 403},
		{"unknown tileset", "/presign/nowhere/2/0/0", []string{"Authorization", "Bearer " + narrow}, 403},
		{"unknown tileset, all granted", "/presign/nowhere/2/0/0", w.bearer(), 404},
		{"beyond the tileset's zooms", "/presign/basemap/20/0/0", w.bearer(), 404},
		{"with an extension", "/presign/basemap/1/0/0.png", w.bearer(), 200},
		{"with a wrong one", "/presign/basemap/1/0/0.jpg", w.bearer(), 404},
		{"not canonical", "/presign/basemap/01/0/0", w.bearer(), 400},
		{"without tileset", "/presign/1/0/0", w.bearer(), 400},
		{"an origin that cannot", "/presign/retina/1/0/0", w.bearer(), 404},
		{"file by a glob over files", "/files/report/url", []string{"Authorization", "Bearer " + narrow}, 200},
		{"file, all tilesets granted", "/files/report/url", w.bearer(), 403},
		{"unknown file, not granted", "/files/nowhere/url", w.bearer(), 403},
		{"unknown file, granted", "/files/nowhere/url", []string{"Authorization", "Bearer " + narrow}, 404},
		{"no file", "/files/report", w.bearer(), 404},
		{"no id", "/files//url", w.bearer(), 404},
	} {
		if got := w.get(test.path, test.header...); got.status != test.want {
			t.Errorf("%s: got %d %s, want %d", test.name, got.status, got.body, test.want)
		}
	}
	if got := w.do(http.MethodPost, "/presign/basemap/1/0/0", "", w.bearer()...); got.status != 405 {
		t.Errorf("POST: got %d", got.status)
	}
}

func TestPresignFails(t *testing.T) {
	w := start(t)
	for want, err := range map[int]error{503: tile.ErrNoCredentials, 500: errors.New("AKIASECRET")} {
		w.origin.presign = func(tileKey) (tile.Signed, error) { return tile.Signed{}, err }
		for path, header := range map[string][]string{"/presign/basemap/1/0/0": w.bearer(), "/files/report/url": {"Authorization", "Bearer " + w.token("file:report")}} {
			got := w.get(path, header...)
			if got.status != want && (want != 500 || got.status != 502) || strings.Contains(got.body, "AKIA") || (want == 503) != (got.header.Get("Retry-After") != "") {
				t.Errorf("%s: %v: got %d %s", path, err, got.status, got.body)
			}
		}
	}
}

// vendor hands out credentials as STS does.
type vendor struct {
	subject  string
	tilesets []string
	until    time.Time
	err      error
}

func (v *vendor) Vend(_ context.Context, subject string, tilesets []string, until time.Time) (proxy.Credentials, error) {
	v.subject, v.tilesets, v.until = subject, tilesets, until
	return proxy.Credentials{Version: 1, AccessKeyID: "ASIAX", SecretAccessKey: "s", SessionToken: "t", Expiration: noon.Add(time.Hour).UTC()}, v.err
}

func TestCredentials(t *testing.T) {
	v := &vendor{}
	w := start(t, func(s *setup) {
		s.proxy.Vend = v.Vend
		s.tileset("basemap").Vend, s.tileset("roads").Vend = true, true
	})
	all := w.tokenFor("alice", 2*time.Hour, auth.Limits{Tilesets: []string{"basemap", "secret"}})
	got := w.do(http.MethodPost, "/credentials", "", "Authorization", "Bearer "+all)
	var c map[string]any
	got.decode(t, &c)
	if c["Version"] != 1.0 || c["AccessKeyId"] != "ASIAX" || c["SecretAccessKey"] != "s" || c["SessionToken"] != "t" || c["Expiration"] != noon.Add(time.Hour).UTC().Format(time.RFC3339Nano) {
		t.Errorf("got %v", c)
	}
	if got.header.Get("Cache-Control") != "private, no-store" {
		t.Errorf("got %v", got.header)
	}
	if v.subject != "alice" || strings.Join(v.tilesets, ",") != "basemap" || v.until.After(noon.Add(2*time.Hour)) {
		t.Errorf("vended %+v: want exactly what is granted and opted in", v)
	}
	if got := w.do(http.MethodPost, "/credentials", "", "Cookie", w.cookie(all)); got.status != 200 || v.subject != "alice" {
		t.Errorf("by cookie: got %d", got.status)
	}
	for name, test := range map[string]struct {
		header []string
		err    error
		want   int
	}{
		"nobody":            {nil, nil, 401},
		"zoom range":        {[]string{"Authorization", "Bearer " + w.tokenFor("a", time.Hour, auth.Limits{Tilesets: []string{"basemap"}, Zoom: &tile.ZoomRange{Min: 0, Max: 3}})}, nil, 403},
		"box":               {[]string{"Authorization", "Bearer " + w.tokenFor("a", time.Hour, auth.Limits{Tilesets: []string{"basemap"}, BBox: &tile.Box{East: 1, North: 1}})}, nil, 403},
		"nothing opted in":  {[]string{"Authorization", "Bearer " + w.token("secret")}, nil, 403},
		"too short":         {[]string{"Authorization", "Bearer " + all}, proxy.ErrTooShort, 403},
		"no credentials":    {[]string{"Authorization", "Bearer " + all}, tile.ErrNoCredentials, 503},
		"path token":        {[]string{"Authorization", "Bearer " + w.pathToken(all)}, nil, 401},
		"from another site": {[]string{"Authorization", "Bearer " + all, "Origin", "https://evil.example"}, nil, 403},
		"from a null one":   {[]string{"Authorization", "Bearer " + all, "Origin", "null"}, nil, 403},
	} {
		v.err = test.err
		if got := w.do(http.MethodPost, "/credentials", "", test.header...); got.status != test.want || strings.Contains(got.body, "AccessKeyId") { // a request id may spell anything else
			t.Errorf("%s: got %d %s, want %d", name, got.status, got.body, test.want)
		}
	}
	if got := w.get("/credentials", w.bearer()...); got.status != 405 {
		t.Errorf("GET: got %d", got.status)
	}
	if got := start(t).do(http.MethodPost, "/credentials", "", w.bearer()...); got.status < 400 || got.status >= 500 {
		t.Errorf("not configured: got %d", got.status)
	}
}
