package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
	"tilegate/internal/testenv"
	"tilegate/internal/worldmap"
)

const browserDir = "../../.ci/browser"

// What Leaflet, MapLibre, CesiumJS and tilegate.js do in a real browser, on another origin than tilegate and over TLS. What is
// expected of each case is in .ci/browser/maps.js; requests are counted where they arrive.
func TestMapsInARealBrowser(t *testing.T) {
	chromium := testenv.Chromium(t)
	node := testenv.Node(t)
	testenv.NeedNodeModules(t, "playwright-core", "leaflet", "maplibre-gl", "pmtiles", "cesium")
	env := startBrowserEnvironment(t)
	shots := t.TempDir()
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		shots = dir
	}
	for page, cases := range map[string][]string{
		"leaflet":  {"session", "strict", "path", "presigned", "anonymous"},
		"maplibre": {"session", "strict", "path", "presigned", "anonymous"},
		"archive":  {"tilejson", "ranges"},
		"style":    {"cookie", "token"},
		"cesium":   {"tiles3d", "terrain"},
		"helper":   {"renews", "wakes", "reports"},
	} {
		for _, name := range cases {
			t.Run(page+"/"+name, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, node, "maps.js", page, name, filepath.Join(shots, page+".png"))
				cmd.Dir = browserDir
				cmd.Env = append(os.Environ(), append(env, "CHROMIUM="+chromium)...)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	}
}

func needEmbeddedViewer(t *testing.T) {
	t.Helper()
	if files, err := filepath.Glob("../../proxy/viewer/maplibre/maplibre-map-*.js"); err != nil || len(files) == 0 {
		testenv.Missing(t, "MapLibre in the map page", "make viewer")
	}
}

// startBrowserEnvironment starts tilegate, its bucket, an issuer and the pages, and returns what maps.js has to know.
func startBrowserEnvironment(t *testing.T) []string {
	t.Helper()
	certificate, authority := throwawayCA(t)
	bucket := privateBucket(t)
	fillWithColours(t, bucket)
	world, err := worldmap.Archive()
	if err != nil {
		t.Fatal(err)
	}
	bucket.Put("tiles", "countries.pmtiles", fakeaws.Object{Body: world})
	fillWithCity(t, bucket)
	fillWithTerrain(t, bucket)
	for name, make := range worldmap.StyleFiles() {
		body, err := make()
		if err != nil {
			t.Fatal(err)
		}
		bucket.Put("tiles", "cartography/"+name, fakeaws.Object{Body: body})
	}
	tokens, err := issuer.New(issuer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	keys := httptest.NewServer(tokens.Handler())
	t.Cleanup(keys.Close)
	tokens.SetURL(keys.URL)

	mux := http.NewServeMux()
	pages := serveTLS(t, mux, certificate)
	pagesOrigin := "https://maps.example.test:" + port(t, pages)
	config := writeFile(t, "tilegate.yaml", fmt.Sprintf(`server:
  listen: "127.0.0.1:0"
  admin_listen: ""
  tls: {cert_file: %q, key_file: %q}
  cors: {origins: [%q]}
aws: {endpoint: %[4]q, sts_endpoint: %[4]q, path_style: true, role: {arn: %[5]q}}
auth:
  issuers: [{issuer: %[6]q, audience: [tiles], algorithms: [RS256], jwks_url: %[7]q}]
tilesets:
  world: {source: "s3://tiles/world/{z}/{x}/{y}.png", version: "1", maxzoom: 5}
  strict: {source: "s3://tiles/world/{z}/{x}/{y}.png", version: "1", maxzoom: 5, browser: strict}
  countries: {source: "s3://tiles/countries.pmtiles", raw: true}
bundles:
  cartography: {source: "s3://tiles/cartography/", with: [countries], spatial: false}
  city: {source: "s3://tiles/city/", with: [countries]}
  terrain: {source: "s3://tiles/terrain/", with: [countries]}
`, writeFile(t, "cert.pem", certificate.chain), writeFile(t, "key.pem", certificate.key), pagesOrigin,
		bucket.URL(), testRole, keys.URL, keys.URL+"/jwks.json"))
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	address := strings.TrimPrefix(server.url, "http://")

	mux.Handle("GET /", http.FileServer(http.Dir(filepath.Join(browserDir, "pages"))))
	for prefix, dist := range map[string]string{"/leaflet/": "leaflet/dist", "/maplibre/": "maplibre-gl/dist", "/pmtiles/": "pmtiles/dist", "/cesium/": "cesium/Build/Cesium"} {
		mux.Handle("GET "+prefix, http.StripPrefix(prefix, http.FileServer(http.Dir(filepath.Join(browserDir, "node_modules", dist)))))
	}
	mux.HandleFunc("GET /token", func(w http.ResponseWriter, r *http.Request) {
		seconds, _ := strconv.ParseInt(r.FormValue("seconds"), 10, 64)
		token, err := tokens.Token("RS256", map[string]any{
			"sub": r.FormValue("account"), "aud": "tiles", "tilesets": "*", "exp": time.Now().Unix() + seconds,
		})
		reply(w, map[string]string{"access_token": token}, err)
	})
	mux.Handle("GET /presigned/world/", presignAnew(t, bucket, serveTLS(t, withCORS(t, bucket.URL(), pagesOrigin), certificate)))

	control := httptest.NewServer(controls(t, bucket, server, "https://"+address, authority))
	t.Cleanup(control.Close)
	_, tilesPort, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"PAGES=" + pagesOrigin, "TILES=https://tiles.example.test:" + tilesPort, "SPKI=" + certificate.spki, "CONTROL=" + control.URL}
}

// fillWithColours puts zoom 4 of the world into the bucket: squares that a screenshot tells apart.
func fillWithColours(t *testing.T, bucket *fakeaws.Server) {
	t.Helper()
	const side = 256
	for i := range 16 {
		tile := image.NewPaletted(image.Rect(0, 0, side, side), color.Palette{color.Black, color.RGBA{uint8(i / 4 * 70), uint8(100 + i%4*40), 160, 255}})
		draw.Draw(tile, image.Rect(1, 1, side, side), image.NewUniform(tile.Palette[1]), image.Point{}, draw.Src)
		var body bytes.Buffer
		if err := png.Encode(&body, tile); err != nil {
			t.Fatal(err)
		}
		for j := range 16 {
			key := fmt.Sprintf("world/4/%d/%d.png", i%4+j%4*4, i/4+j/4*4)
			bucket.Put("tiles", key, fakeaws.Object{Body: body.Bytes()})
		}
	}
}

// keyPair is a server's certificate.
type keyPair struct {
	chain, key string // PEM
	spki       string // base64 of the SHA-256 of the authority's public key: Chromium trusts what has it in its chain
}

// throwawayCA makes an authority that is trusted by nobody else and gone with the test, and one certificate of its.
func throwawayCA(t *testing.T) (keyPair, *x509.CertPool) {
	t.Helper()
	create := func(template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
		t.Helper()
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
		if parent == nil {
			parent, parentKey = template, key
		}
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return c, key
	}
	authority, authorityKey := create(&x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "tilegate test authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	leaf, leafKey := create(&x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "example.test"},
		DNSNames: []string{"*.example.test", "*.other.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority, authorityKey)
	key, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	var chain strings.Builder
	for _, c := range []*x509.Certificate{leaf, authority} {
		chain.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	hash := sha256.Sum256(authority.RawSubjectPublicKeyInfo)
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	return keyPair{
		chain: chain.String(), key: string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})),
		spki: base64.StdEncoding.EncodeToString(hash[:]),
	}, pool
}

func serveTLS(t *testing.T, h http.Handler, k keyPair) *httptest.Server {
	t.Helper()
	pair, err := tls.X509KeyPair([]byte(k.chain), []byte(k.key))
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func port(t *testing.T, s *httptest.Server) string {
	t.Helper()
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// withCORS is the bucket with a CORS configuration.
func withCORS(t *testing.T, bucket, origin string) http.Handler {
	t.Helper()
	target, err := url.Parse(bucket)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Access-Control-Allow-Origin", origin)
			return nil
		},
	}
}

// presignAnew signs a URL for a tile, another one each time.
func presignAnew(t *testing.T, bucket *fakeaws.Server, front *httptest.Server) http.Handler {
	t.Helper()
	const id, secret = "AKIATESTPRESIGNER001", "the-presigner's-secret"
	err := bucket.AddUser(fakeaws.User{
		AccessKeyID: id, SecretAccessKey: secret,
		Policy: `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::tiles/*"}}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	signer := s3.NewPresignClient(s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(front.URL), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(id, secret, ""),
	}))
	var calls atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := strings.TrimPrefix(r.URL.Path, "/presigned/")
		signed, err := signer.PresignGetObject(r.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String(key)},
			s3.WithPresignExpires(time.Hour+time.Duration(calls.Add(1))*time.Second)) // signatures have a time in whole seconds
		if err != nil {
			reply(w, nil, err)
			return
		}
		reply(w, map[string]string{"url": signed.URL}, nil)
	})
}

// clientOf trusts the throwaway authority.
func clientOf(authority *x509.CertPool) *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authority, MinVersion: tls.VersionTLS12}}}
}

// controls tells maps.js what has arrived at tilegate and at the bucket, and makes the bucket wait.
func controls(t *testing.T, bucket *fakeaws.Server, server *program, address string, authority *x509.CertPool) http.Handler {
	t.Helper()
	client := clientOf(authority)
	t.Cleanup(client.CloseIdleConnections)
	var fences, held atomic.Int64
	var mu sync.Mutex
	release := func() {}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) {
		// The log is late, but in order: once a request of ours is in it, so is all that came before.
		fence := fmt.Sprintf("/fence/%d", fences.Add(1))
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, address+fence, http.NoBody)
		if err != nil {
			reply(w, nil, err)
			return
		}
		answer, err := client.Do(ask)
		if err != nil {
			reply(w, nil, err)
			return
		}
		_ = answer.Body.Close() // a 404
		requests, err := server.requestsUntil(r.Context(), fence)
		reply(w, requests, err)
	})
	mux.HandleFunc("GET /objects", func(w http.ResponseWriter, _ *http.Request) { reply(w, bucket.Count("GetObject", "tiles", ""), nil) })
	mux.HandleFunc("GET /held", func(w http.ResponseWriter, _ *http.Request) { reply(w, held.Load(), nil) })
	mux.HandleFunc("GET /hold", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		held.Store(0)
		release = bucket.Inject(fakeaws.Fault{Op: "GetObject", HangBeforeHeaders: true, Met: func(fakeaws.Request) { held.Add(1) }})
		reply(w, true, nil)
	})
	mux.HandleFunc("GET /release", func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		release()
		reply(w, true, nil)
	})
	return mux
}

// request is a line of the access log.
type request struct {
	Method string `json:"method"`
	Path   string `json:"path"`
	Status int    `json:"status"`
	Bytes  int    `json:"bytes"`
}

// requestsUntil are those logged before the one with this path, once it is there. Other fences are left out.
func (p *program) requestsUntil(ctx context.Context, path string) ([]request, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		requests := []request{}
		for lines := bufio.NewScanner(strings.NewReader(p.log())); lines.Scan(); {
			var line request
			switch err := json.Unmarshal(lines.Bytes(), &line); {
			case err != nil || line.Path == "":
			case line.Path == path:
				return requests, nil
			case !strings.HasPrefix(line.Path, "/fence/"):
				requests = append(requests, line)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func reply(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client may have left
}
