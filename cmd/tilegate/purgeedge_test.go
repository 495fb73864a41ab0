package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"tilegate/internal/fakeaws"
)

// apis stand in for the APIs of three CDNs.
type apis struct {
	mu     sync.Mutex
	asked  map[string]string // the latest body, by path
	refuse string            // the path that is refused
	before func()
}

func (a *apis) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	a.mu.Lock()
	a.asked[r.URL.Path] = string(body)
	refused, before := a.refuse == r.URL.Path, a.before
	a.mu.Unlock()
	if before != nil {
		before()
	}
	authorized := map[string]bool{
		"/service/SERVICE/purge": r.Header.Get("Fastly-Key") == "the-token-of-fastly" && r.Header.Get("Fastly-Soft-Purge") == "1",
		"/client/v4/zones/0123456789abcdef0123456789abcdef/purge_cache": r.Header.Get("Authorization") == "Bearer the-token-of-cloudflare",
		"/2020-05-31/distribution/E1A2B3/invalidation":                  strings.Contains(r.Header.Get("Authorization"), "Credential="+testKey+"/"),
	}[r.URL.Path]
	switch {
	case refused || !authorized:
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `{"msg":"the token is not the-token-of-fastly"}`)
	case strings.HasSuffix(r.URL.Path, "invalidation"):
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, "<Invalidation><Id>I1</Id></Invalidation>")
	default:
		_, _ = io.WriteString(w, `{"success":true}`)
	}
}

// A purge reaches the CDNs after the caches here, by the tags that the tiles have carried there; its answer tells what was sent where
// and what failed, without a token.
func TestPurgeReachesTheCDNs(t *testing.T) {
	a := &apis{asked: map[string]string{}}
	api := httptest.NewServer(a)
	defer api.Close()
	bucket := privateBucket(t)
	tiles := randomTiles(1)
	bucket.Put("tiles", "basemap/1/0/0.png", fakeaws.Object{Body: tiles["9/0/0"]})
	bucket.Put("tiles", "basemap/1/1/1.png", fakeaws.Object{Body: tiles["9/0/0"]})
	admin := freeAddress(t)
	config := writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: %q}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
auth: {signing_keys: [{file: %q}]}
cdn:
  origin_secrets: [{file: %q}]
  edge_authorizes: true
  tilesets: [basemap]
  purge:
    cloudfront: {distribution: E1A2B3, endpoint: %q}
    fastly: {service: SERVICE, token: {file: %q}, endpoint: %q}
    cloudflare: {zone: 0123456789abcdef0123456789abcdef, token: {file: %q}, endpoint: %q}
tilesets:
  basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
  other: {source: "s3://tiles/other/{z}/{x}/{y}.png"}
`, admin, bucket.URL(), bucket.URL(), testRole, writeFile(t, "key", strings.Repeat("ab", 32)), writeFile(t, "origin", "the-secret-of-the-edge"), api.URL,
		writeFile(t, "fastly", "the-token-of-fastly"), api.URL, writeFile(t, "cloudflare", "the-token-of-cloudflare"), api.URL))
	p, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	edge := func() *http.Response {
		answer, _ := get(t, p.url+"/tiles/basemap/1/0/0", "X-Origin-Verify", "the-secret-of-the-edge")
		return answer
	}
	var carried []string
	eventually(t, "it serves the edge", func() error {
		answer := edge()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("got %s", answer.Status)
		}
		carried = strings.Split(answer.Header.Get("Cache-Tag"), ",")
		return nil
	})
	changed := append(slices.Clone(tiles["9/0/0"]), 1)
	bucket.Put("tiles", "basemap/1/0/0.png", fakeaws.Object{Body: changed})
	var mu sync.Mutex
	kept := ""
	a.mu.Lock()
	a.before = func() {
		mu.Lock()
		defer mu.Unlock()
		kept = edge().Header.Get("Cache-Control")
	}
	a.mu.Unlock()

	var told struct {
		Purged int
		Status int
		CDNs   []struct {
			CDN          string
			Tags, Purged int
			Error        string
		}
	}
	purge := func(body string, want int) string {
		t.Helper()
		answer, text := send(t, http.MethodPost, "http://"+admin+"/admin/purge", body)
		told.CDNs = nil
		if err := json.Unmarshal(text, &told); err != nil || answer.StatusCode != want {
			t.Fatalf("got %s %s, want %d", answer.Status, text, want)
		}
		return string(text)
	}
	purge(`{"tileset":"basemap","zoom":"1-1","bbox":[-170,10,-10,80],"soft":true}`, http.StatusOK)
	if told.Purged != 1 || len(told.CDNs) != 3 {
		t.Errorf("got %+v", told)
	}
	for _, c := range told.CDNs {
		if c.Tags != 1 || c.Purged != 1 || c.Error != "" {
			t.Errorf("%s: got %+v", c.CDN, c)
		}
	}
	a.mu.Lock()
	for path, body := range a.asked {
		if !strings.Contains(body, carried[len(carried)-1]) {
			t.Errorf("%s got %s, want the tag %s", path, body, carried[len(carried)-1])
		}
	}
	a.before = nil
	a.refuse = "/service/SERVICE/purge"
	a.mu.Unlock()
	mu.Lock()
	if !strings.Contains(kept, "s-maxage=") {
		t.Errorf("the edge got %q when it was purged", kept)
	}
	mu.Unlock()

	text := purge(`{"tileset":"basemap","soft":true}`, http.StatusBadGateway)
	for _, c := range told.CDNs {
		if failed := c.CDN == "fastly"; failed != (c.Error != "") || failed != (c.Purged == 0) {
			t.Errorf("got %+v, want that Fastly alone has failed", c)
		}
	}
	if told.Status != http.StatusBadGateway || !strings.Contains(text, "fastly") || strings.Contains(text+p.log(), "the-token-of") {
		t.Errorf("got %s; want a problem that names the CDN, without a token here or in the log", text)
	}
	if _, body := get(t, "http://"+admin+"/metrics"); !strings.Contains(string(body), `tilegate_cdn_purges_total{cdn="fastly",result="failed"} 1`) {
		t.Error("the failure is not counted")
	}
	if purge(`{"tileset":"other"}`, http.StatusOK); told.CDNs != nil {
		t.Errorf("a tileset that the CDN does not have: got %+v", told.CDNs)
	}
}
