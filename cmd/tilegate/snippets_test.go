package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"text/template"
	"time"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
	"tilegate/internal/testenv"
)

// The README's snippets are what people paste. Each is taken from the README itself and run as a first visit, in a fresh
// profile, with a login that takes 400 ms. What is expected of each case is in .ci/browser/readme.js.
func TestREADMESnippetsInARealBrowser(t *testing.T) {
	chromium := testenv.Chromium(t)
	node := testenv.Node(t)
	testenv.NeedNodeModules(t, "playwright-core", "leaflet", "maplibre-gl", "ol")
	s := newSnippetSite(t)
	shots := t.TempDir()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		shots = dir
	}
	for _, test := range []struct {
		server    string // a key of sessionsOf
		name      string // a case of readme.js
		libraries []string
		host      string
		block     bool   // third-party cookies
		want      string // in the reason why there is no map
	}{
		{"lax", "lapse", []string{"leaflet", "maplibre", "openlayers"}, "maps.example.test", false, ""},
		{"lax", "first", []string{"module", "import"}, "maps.example.test", true, ""}, // cookies of the same site are no third party's
		{"lax", "told", []string{"leaflet"}, "maps.other.test", false, "same_site: none"},
		{"lax", "file", []string{"file"}, "", true, ""},
		{"none", "told", []string{"leaflet"}, "maps.other.test", true, "auth.session.partitioned: true"},
		{"partitioned", "first", []string{"leaflet"}, "maps.other.test", true, ""},
		{"partitioned", "canvas", []string{"maplibre", "openlayers"}, "maps.other.test", true, ""},
		{"partitioned", "refused", []string{"bare"}, "maps.other.test", false, ""},
		{"http", "told", []string{"leaflet"}, "maps.example.test", false, "over https only"},
	} {
		for _, library := range test.libraries {
			t.Run(test.server+"/"+test.name+"/"+library, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				server := s.server(test.server)
				page := s.page(t, library, server, test.host)
				visit := func(page string) ([]byte, error) {
					cmd := exec.CommandContext(ctx, node, "readme.js", test.name, library, filepath.Join(shots, test.server+"-"+test.name+"-"+library+".png"))
					cmd.Dir = browserDir
					cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "PAGE="+page, "SPKI="+s.certificate.spki, "CONTROL="+server.control,
						"BLOCK="+strconv.FormatBool(test.block), "WANT="+test.want)
					return cmd.CombinedOutput()
				}
				out, err := []byte(nil), error(nil)
				if test.name != "lapse" {
					out, err = visit(page)
				} else {
					// The map has to be there before the session ends. A loaded machine gets more time.
					for _, life := range []string{"20s", "60s", "120s"} {
						if out, err = visit(page + "?life=" + life); err == nil {
							break
						}
					}
				}
				if err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

// sessionsOf are the ways in which tilegate is served.
var sessionsOf = map[string]string{
	"lax":         "{same_site: lax}",
	"none":        "{same_site: none}",
	"partitioned": "{same_site: none, partitioned: true}",
	"http":        "{same_site: lax}",
}

// snippetSite is a site with pages made of the README's snippets, and the tilegates that they ask.
type snippetSite struct {
	certificate keyPair
	authority   *x509.CertPool
	bucket      *fakeaws.Server
	tokens      *issuer.Issuer
	keys        *httptest.Server
	secure      *httptest.Server
	plain       *httptest.Server
	pages       *http.ServeMux
	servers     map[string]*snippetServer
	readme      string
	t           *testing.T // the servers are the whole test's, not a case's
}

type snippetServer struct {
	url, control, config string
	program              *program
}

func newSnippetSite(t *testing.T) *snippetSite {
	t.Helper()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	s := &snippetSite{bucket: privateBucket(t), pages: http.NewServeMux(), servers: map[string]*snippetServer{}, readme: string(readme), t: t}
	s.certificate, s.authority = throwawayCA(t)
	fillWithColours(t, s.bucket)
	if s.tokens, err = issuer.New(issuer.Options{}); err != nil {
		t.Fatal(err)
	}
	s.keys = httptest.NewServer(s.tokens.Handler())
	t.Cleanup(s.keys.Close)
	s.tokens.SetURL(s.keys.URL)
	s.secure = serveTLS(t, s.pages, s.certificate)
	s.plain = httptest.NewServer(s.pages)
	t.Cleanup(s.plain.Close)
	for prefix, dist := range map[string]string{"/leaflet/": "leaflet/dist", "/maplibre/": "maplibre-gl/dist", "/ol/": "ol/dist"} {
		s.pages.Handle("GET "+prefix, http.StripPrefix(prefix, http.FileServer(http.Dir(filepath.Join(browserDir, "node_modules", dist)))))
	}
	s.pages.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		life, err := time.ParseDuration(r.FormValue("life"))
		if err != nil {
			life = 10 * time.Minute
		}
		token, err := s.token(life)
		reply(w, map[string]string{"access_token": token}, err)
	})
	return s
}

// token is an access token, and as long as it lives, so do its sessions.
func (s *snippetSite) token(life time.Duration) (string, error) {
	return s.tokens.Token("RS256", map[string]any{"sub": "ada", "aud": "tiles", "tilesets": "*", "exp": time.Now().Add(life).Unix()})
}

// server starts a tilegate, once for each kind.
func (s *snippetSite) server(kind string) *snippetServer {
	t := s.t
	t.Helper()
	if found := s.servers[kind]; found != nil {
		return found
	}
	listen := fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", writeFile(t, "cert.pem", s.certificate.chain), writeFile(t, "key.pem", s.certificate.key))
	if kind == "http" {
		listen = `public_url: "https://tiles.example.test"`
	}
	config := writeFile(t, "tilegate.yaml", fmt.Sprintf(`server:
  listen: "127.0.0.1:0"
  admin_listen: ""
  %s
  cors: {origins: ["https://maps.example.test:%s", "https://maps.other.test:%s", "http://maps.example.test:%s"]}
aws: {endpoint: %[5]q, sts_endpoint: %[5]q, path_style: true, role: {arn: %[6]q}}
auth:
  session: %[7]s
  issuers: [{issuer: %[8]q, audience: [tiles], algorithms: [RS256], jwks_url: %[9]q}]
tilesets:
  basemap: {source: "s3://tiles/world/{z}/{x}/{y}.png", version: "1", maxzoom: 5}
`, listen, port(t, s.secure), port(t, s.secure), port(t, s.plain), s.bucket.URL(), testRole, sessionsOf[kind], s.keys.URL, s.keys.URL+"/jwks.json"))
	program, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	_, tilesPort, err := net.SplitHostPort(strings.TrimPrefix(program.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	scheme := "https"
	if kind == "http" {
		scheme = "http"
	}
	control := httptest.NewServer(controls(t, s.bucket, program, scheme+"://127.0.0.1:"+tilesPort, s.authority))
	t.Cleanup(control.Close)
	server := &snippetServer{url: scheme + "://tiles.example.test:" + tilesPort, control: control.URL, config: config, program: program}
	s.servers[kind] = server
	return server
}

// snippet is the README's block of code that follows a text.
func (s *snippetSite) snippet(t *testing.T, after, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(s.readme, after)
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindStringSubmatch(rest)
	if !found || block == nil {
		t.Fatalf("README.md has no %s behind %q", language, after)
	}
	return block[1]
}

var snippetPage = template.Must(template.New("page").Parse(`<!doctype html>
<meta charset="utf-8">
<title>{{.Library}}</title>
<link rel="icon" href="data:,">
<style>html, body, #map { height: 100%; margin: 0; background: #f0f } .leaflet-control-container, .maplibregl-control-container, .ol-overlaycontainer-stopevent { display: none }</style>
<div id="map"></div>
<script>
	const getAccessTokenFromYourLogin = async () => {
		await new Promise((resolve) => setTimeout(resolve, 400))
		return (await (await fetch('/token' + location.search)).json()).access_token
	}
	window.alert = (text) => { window.told = text }
</script>
{{.Setup}}
{{.SignIn}}
<script type="module">
{{.Snippet}}
</script>
`))

const leafletSetup = `<link rel="stylesheet" href="/leaflet/leaflet.css">
<script src="/leaflet/leaflet.js"></script>
<script>
	const map = L.map('map', {fadeAnimation: false, zoomAnimation: false}).setView([50, 10], 4)
	window.move = () => map.panTo([40, -100], {animate: false})
</script>`

const openLayersSetup = `<script src="/ol/ol.js"></script>
<script>
	const map = new ol.Map({target: 'map', view: new ol.View({center: ol.proj.fromLonLat([10, 50]), zoom: 4})})
	window.move = () => map.getView().setCenter(ol.proj.fromLonLat([-100, 40]))
	window.exportMap = () => document.querySelector('#map canvas').toDataURL().length
</script>`

const mapLibreSetup = `<link rel="stylesheet" href="/maplibre/maplibre-gl.css">
<script type="module">
	import * as maplibre from '/maplibre/maplibre-gl.mjs'
	window.maplibregl = {...maplibre, Map: class extends maplibre.Map {
		constructor(options) {
			super({center: [10, 50], zoom: 3, fadeDuration: 0, ...options}) // its tiles have 512 pixels a side
			this.on('error', () => {}) // refused tiles are what the tests are about
			window.map = this
		}
	}}
	window.move = () => map.jumpTo({center: [-100, 40]})
	window.exportMap = () => new Promise((resolve) => {
		map.once('render', () => resolve(map.getCanvas().toDataURL().length))
		map.triggerRepaint()
	})
</script>`

// page makes a page of the README's snippets for a library, and returns its address.
func (s *snippetSite) page(t *testing.T, library string, server *snippetServer, host string) string {
	t.Helper()
	signIn := s.snippet(t, "## Show the map", "html")
	inline := regexp.MustCompile(`(?s)<script>\n(.*?)</script>`).FindStringSubmatch(signIn)
	if inline == nil {
		t.Fatal("README.md: the sign-in has no script of its own")
	}
	setup, snippet := leafletSetup, s.snippet(t, "\n**Leaflet**", "js")
	switch library {
	case "maplibre":
		setup, snippet = mapLibreSetup, s.snippet(t, "\n**MapLibre", "js")
	case "openlayers":
		setup, snippet = openLayersSetup, s.snippet(t, "\n**OpenLayers**", "js")
	case "module":
		line := regexp.MustCompile("`(import \\{tilegate\\} from '[^']+')`").FindStringSubmatch(s.readme)
		if line == nil {
			t.Fatal("README.md does not say how to import")
		}
		signIn, snippet = "", line[1]+"\n"+inline[1]+snippet
	case "import":
		signIn, snippet = "", "await import('https://tiles.example.com/tilegate.js')\n"+inline[1]+snippet
	case "bare":
		signIn, snippet = "", "L.tileLayer('https://tiles.example.com/tiles/basemap/{z}/{x}/{y}.png').addTo(map)"
	case "file":
		signIn, snippet = "", strings.Replace(s.snippet(t, "\n**Pages and programs that can send neither cookies nor headers**", "js"), "TOKEN", s.pathToken(t, server), 1)
		setup = strings.ReplaceAll(setup, `"/leaflet/`, `"file://`+absolute(t, filepath.Join(browserDir, "node_modules/leaflet/dist"))+"/")
	}
	var html bytes.Buffer
	if err := snippetPage.Execute(&html, map[string]string{"Library": library, "Setup": setup, "SignIn": signIn, "Snippet": snippet}); err != nil {
		t.Fatal(err)
	}
	text := strings.ReplaceAll(html.String(), "https://tiles.example.com", server.url)
	if library == "file" {
		text = strings.Replace(text, `<script type="module">`, "<script>", 1) // there are no modules in local files
		return "file://" + absolute(t, writeFile(t, "page.html", text))
	}
	path := "/" + strings.ReplaceAll(t.Name(), "/", "-") + ".html"
	s.pages.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte(text)) // the browser may have left
	})
	if strings.HasPrefix(server.url, "http://") {
		return "http://" + host + ":" + port(t, s.plain) + path
	}
	return "https://" + host + ":" + port(t, s.secure) + path
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// pathToken asks for one as a site's own server does.
func (s *snippetSite) pathToken(t *testing.T, server *snippetServer) string {
	t.Helper()
	token, err := s.token(10 * time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	_, tilesPort, _ := strings.Cut(strings.TrimPrefix(server.url, "https://"), ":")
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://127.0.0.1:"+tilesPort+"/tokens", strings.NewReader(`{"tilesets":["basemap"]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	client := clientOf(s.authority)
	defer client.CloseIdleConnections()
	answer, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var minted struct{ Token string }
	if err := json.NewDecoder(answer.Body).Decode(&minted); err != nil || minted.Token == "" {
		t.Fatalf("POST /tokens: %s, %v", answer.Status, err)
	}
	return minted.Token
}

// The map page works under a path of another server, which strips that path or leaves it.
func TestMapPageUnderAPathInARealBrowser(t *testing.T) {
	chromium := testenv.Chromium(t)
	node := testenv.Node(t)
	testenv.NeedNodeModules(t, "playwright-core")
	needEmbeddedViewer(t)
	bucket := privateBucket(t)
	fillWithColours(t, bucket)
	key, _, _ := command(t, "keygen")
	keyFile := writeFile(t, "tilegate.key", key)
	for name, strip := range map[string]bool{"stripped": true, "left": false} {
		t.Run(name, func(t *testing.T) {
			var target atomic.Pointer[url.URL]
			pass := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(target.Load())
				if strip {
					r.Out.URL.Path = strings.TrimPrefix(r.In.URL.Path, "/maps")
				}
			}}
			mux := http.NewServeMux()
			mux.Handle("/maps/", pass) // everything else is somebody else's, and not there
			front := httptest.NewServer(mux)
			t.Cleanup(front.Close)
			config := writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: "", public_url: "%s/maps"}
aws: {endpoint: %[2]q, sts_endpoint: %[2]q, path_style: true, role: {arn: %[3]q}}
auth: {signing_keys: [{file: %[4]q}], session: {cookie_suffix: maps}}
tilesets:
  basemap: {source: "s3://tiles/world/{z}/{x}/{y}.png", minzoom: 4, maxzoom: 4, name: Under a path}
`, front.URL, bucket.URL(), testRole, keyFile))
			program, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
			u, err := url.Parse(program.url)
			if err != nil {
				t.Fatal(err)
			}
			target.Store(u)
			token, _, _ := command(t, "token", "-c", config, "--subject", "ada", "--tilesets", "basemap", "--ttl", "1h")
			control := httptest.NewServer(controls(t, bucket, program, program.url, nil))
			t.Cleanup(control.Close)
			shot := filepath.Join(t.TempDir(), "page.png")
			if dir := os.Getenv("SCREENSHOTS"); dir != "" {
				shot = filepath.Join(dir, "page-"+name+".png")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, node, "readme.js", "page", "page", shot)
			cmd.Dir = browserDir
			cmd.Env = append(os.Environ(), "CHROMIUM="+chromium, "PAGE="+front.URL+"/maps/", "SPKI=none", "CONTROL="+control.URL, "TOKEN="+strings.TrimSpace(token))
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
