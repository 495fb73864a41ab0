package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
	"tilegate/internal/testenv"
)

// The map page in a browser: images, vector tiles, elevations and a style; signing in and out; by keyboard; in each size.
// What is expected of each case is in .ci/browser/page.js.
func TestMapPageInARealBrowser(t *testing.T) {
	chromium := testenv.Chromium(t)
	node := testenv.Node(t)
	testenv.NeedNodeModules(t, "playwright-core", "axe-core", "leaflet", "maplibre-gl", "ol")
	needEmbeddedViewer(t)
	bucket := privateBucket(t)
	fillWithColours(t, bucket)
	fillWithFeatures(t, bucket)
	key, _, _ := command(t, "keygen")
	keys := filepath.Join(t.TempDir(), "keys.jsonl")
	pages := pasteSite(t)
	config := writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: "", cors: {origins: [%[5]q]}}
aws: {endpoint: %[1]q, sts_endpoint: %[1]q, path_style: true, role: {arn: %[2]q}}
auth: {signing_keys: [{file: %[3]q}], api_keys: {file: %[4]q}}
tilesets:
  colours: {source: "s3://tiles/world/{z}/{x}/{y}.png", minzoom: 4, maxzoom: 4, name: Colours}
  features: {source: "s3://tiles/features/{z}/{x}/{y}.mvt", maxzoom: 2, name: Features}
  heights: {source: "s3://tiles/heights/{z}/{x}/{y}.png", maxzoom: 1, encoding: terrarium, name: Heights}
bundles:
  cartography: {source: "s3://tiles/styles/", with: [features], spatial: false, styles: {plain: style.json}}
`, bucket.URL(), testRole, writeFile(t, "tilegate.key", key), keys, pages))
	apiKey, stderr, status := command(t, "key", "create", "-c", config, "--name", "browser", "--tilesets", "features")
	if status != 0 {
		t.Fatal(stderr)
	}
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	mint := func(args ...string) string { return strings.TrimSpace(mintToken(t, config, args...)) }
	environment := append(os.Environ(), "CHROMIUM="+chromium, "PAGE="+server.url+"/", "PASTE="+pages+"/paste", "KEY="+strings.TrimSpace(apiKey),
		"TOKEN="+mint("--tilesets", "*", "--subject", "ada"), "OTHER="+mint("--tilesets", "features", "--subject", "bo"),
		"BOXED="+mint("--tilesets", "colours", "--bbox", "-11,35,30,60", "--subject", "eve"))
	shots := t.TempDir()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		shots = dir
	}
	provider := startProvider(t)
	loginConfig := writeFile(t, "login.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: ""}
aws: {endpoint: %[1]q, sts_endpoint: %[1]q, path_style: true, role: {arn: %[2]q}}
auth:
  issuers: [{issuer: %[3]q, audience: [tiles], algorithms: [RS256], jwks_url: "%[3]s/jwks.json"}]
  login: {issuer: %[3]q, client_id: tilegate, client_secret: {env: OIDC_SECRET}}
tilesets:
  features: {source: "s3://tiles/features/{z}/{x}/{y}.mvt", maxzoom: 2, name: Features}
`, bucket.URL(), testRole, provider))
	behindLogin, _ := start(t, append(baseCredentials(testKey, testSecret), "OIDC_SECRET=secret"), "serve", "-c", loginConfig)
	environment = append(environment, "LOGIN_PAGE="+behindLogin.url+"/")
	for _, name := range []string{"login", "vector", "style", "terrain", "refused", "keyboard", "address", "use", "pasted", "apikey", "sizes"} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, node, "page.js", name, filepath.Join(shots, "page-"+name))
			cmd.Dir, cmd.Env = browserDir, environment
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// pasteSite is a site of another origin: the map libraries, and a page that a test has made.
func pasteSite(t *testing.T) (origin string) {
	t.Helper()
	mux := http.NewServeMux()
	var mu sync.Mutex
	var pasted []byte
	mux.HandleFunc("POST /paste", func(_ http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body) // what is cut off does not run
		mu.Lock()
		defer mu.Unlock()
		pasted = text
	})
	mux.HandleFunc("GET /paste", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(pasted) // the browser may have left
	})
	for prefix, dist := range map[string]string{"/leaflet/": "leaflet/dist", "/maplibre/": "maplibre-gl/dist", "/ol/": "ol/dist"} {
		mux.Handle("GET "+prefix, http.StripPrefix(prefix, http.FileServer(http.Dir(filepath.Join(browserDir, "node_modules", dist)))))
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// startProvider starts an identity provider at which ada signs in without being asked.
func startProvider(t *testing.T) (address string) {
	t.Helper()
	provider, err := issuer.New(issuer.Options{
		Clients:  map[string]string{"tilegate": "secret"},
		Accounts: map[string]map[string]any{"ada": {"sub": "ada", "aud": "tiles", "tilesets": []string{"*"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	provider.SignIn("ada")
	s := httptest.NewServer(provider.Handler())
	t.Cleanup(s.Close)
	provider.SetURL(s.URL)
	return s.URL
}

// fillWithFeatures puts vector tiles, elevations and a style into the bucket.
func fillWithFeatures(t *testing.T, bucket *fakeaws.Server) {
	t.Helper()
	square := feature(3, []uint32{9, zigzag(400), zigzag(400), 26, zigzag(3200), 0, 0, zigzag(3200), zigzag(-3200), 0, 15})
	point := feature(1, []uint32{9, zigzag(2048), zigzag(2048)})
	vector := append(layer("land", square, "A square"), layer("places", point, "A place")...)
	heights := image.NewRGBA(image.Rect(0, 0, 256, 256))
	for x := range 256 {
		for y := range 256 {
			heights.Set(x, y, color.RGBA{R: 128, G: uint8(x * y / 1024), A: 255})
		}
	}
	var relief bytes.Buffer
	if err := png.Encode(&relief, heights); err != nil {
		t.Fatal(err)
	}
	for z := range 3 {
		for x := range 1 << z {
			for y := range 1 << z {
				bucket.Put("tiles", fmt.Sprintf("features/%d/%d/%d.mvt", z, x, y), fakeaws.Object{Body: vector})
				bucket.Put("tiles", fmt.Sprintf("heights/%d/%d/%d.png", z, x, y), fakeaws.Object{Body: relief.Bytes()})
			}
		}
	}
	bucket.Put("tiles", "styles/style.json", fakeaws.Object{Body: []byte(`{"version": 8, "center": [10, 20], "zoom": 1,
"sources": {"f": {"type": "vector", "url": "tilegate://tilesets/features"}},
"layers": [{"id": "ground", "type": "background", "paint": {"background-color": "#345"}}, {"id": "land", "type": "fill", "source": "f", "source-layer": "land", "paint": {"fill-color": "#cb8"}}]}`)})
}

func zigzag(n int32) uint32 { return uint32(n<<1) ^ uint32(n>>31) }

// feature is a feature of a vector tile, with the first key's first value as its property.
func feature(kind uint64, geometry []uint32) (f []byte) {
	var packed []byte
	for _, command := range geometry {
		packed = protowire.AppendVarint(packed, uint64(command))
	}
	f = protowire.AppendBytes(protowire.AppendTag(f, 2, protowire.BytesType), []byte{0, 0})
	f = protowire.AppendVarint(protowire.AppendTag(f, 3, protowire.VarintType), kind)
	return protowire.AppendBytes(protowire.AppendTag(f, 4, protowire.BytesType), packed)
}

// layer is a vector tile of one layer with one feature (Mapbox Vector Tile 2.1).
func layer(name string, feature []byte, value string) []byte {
	var l []byte
	l = protowire.AppendVarint(protowire.AppendTag(l, 15, protowire.VarintType), 2)
	l = protowire.AppendString(protowire.AppendTag(l, 1, protowire.BytesType), name)
	l = protowire.AppendBytes(protowire.AppendTag(l, 2, protowire.BytesType), feature)
	l = protowire.AppendString(protowire.AppendTag(l, 3, protowire.BytesType), "name")
	text := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), value)
	l = protowire.AppendBytes(protowire.AppendTag(l, 4, protowire.BytesType), text)
	l = protowire.AppendVarint(protowire.AppendTag(l, 5, protowire.VarintType), 4096) // the default, which OpenLayers does not know
	return protowire.AppendBytes(protowire.AppendTag(nil, 3, protowire.BytesType), l)
}
