package viewer_test

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"html"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"tilegate/internal/testenv"
	"tilegate/proxy/viewer"
)

var demo = viewer.Options{Accounts: []viewer.Account{
	{Name: "ada", Label: "Ada", Description: "the whole world", TokenURL: "http://127.0.0.1:9999/token?account=ada"},
	{Name: "bo", Label: "Bo", Description: "low zooms", TokenURL: "http://127.0.0.1:9999/token?account=bo"},
}}

// answer is what the viewer has at a path.
type answer struct {
	found  bool
	header http.Header
	body   string
}

func get(v *viewer.Viewer, path string) answer {
	header, body, found := v.File(path, "")
	return answer{found, header, string(body)}
}

// without is the binary's files with others in place of MapLibre's.
func without(t *testing.T, instead fstest.MapFS) fs.FS {
	t.Helper()
	files := maps.Clone(instead)
	if files == nil {
		files = fstest.MapFS{}
	}
	entries, err := fs.Glob(viewer.Files, "page/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range entries {
		body, err := fs.ReadFile(viewer.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: body}
	}
	return files
}

func TestFiles(t *testing.T) {
	v := viewer.New(demo)
	tests := []struct {
		name, path  string
		contentType string // "": there is nothing
	}{
		{"page", "/", "text/html; charset=utf-8"},
		{"helper", "/tilegate.js", "text/javascript; charset=utf-8"},
		{"helper as a module", "/tilegate.mjs", "text/javascript; charset=utf-8"},
		{"script", "/viewer/viewer.js", "text/javascript; charset=utf-8"},
		{"style", "/viewer/viewer.css", "text/css; charset=utf-8"},
		{"mark", "/viewer/tilegate.svg", "image/svg+xml"},
		{"no such file", "/viewer/other.js", ""},
		{"the template's source", "/viewer/index.html", ""},
		{"out of the folder", "/viewer/../viewer.go", ""},
		{"the folder", "/viewer/", ""},
		{"the helper under another name", "/viewer/tilegate.js", ""},
		{"another path", "/elsewhere", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := get(v, test.path)
			if got.header.Get("Content-Type") != test.contentType || got.found != (test.contentType != "") || got.found != (got.body != "") {
				t.Errorf("got %v, %v, %d bytes, want type %q", got.found, got.header, len(got.body), test.contentType)
			}
		})
	}
}

// The page's policy admits no script but files, so the page must not contain any other; nor styles.
func TestScriptInjectionIsStoppedByThePolicy(t *testing.T) {
	w := get(viewer.New(demo), "/")
	policy := w.header.Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "worker-src 'self'", "img-src 'self' data:", "connect-src 'self' http://127.0.0.1:9999",
		"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	} {
		if !strings.Contains(policy+";", want) {
			t.Errorf("policy: got %q, want it to contain %q", policy, want)
		}
	}
	if strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
		t.Errorf("policy: got %q, which admits too much", policy)
	}
	for _, banned := range []string{`<script>`, `<style`, ` style=`, ` on\w+=`, `javascript:`} {
		if found := regexp.MustCompile(banned).FindString(w.body); found != "" {
			t.Errorf("the page contains %q, which its policy forbids", found)
		}
	}
}

func TestAccountsAreTextNotMarkup(t *testing.T) {
	evil := `"><script src="https://evil.example/x.js"></script>`
	page := get(viewer.New(viewer.Options{Accounts: []viewer.Account{
		{Name: evil, Label: evil, Description: evil, TokenURL: "https://id.example/" + evil},
	}}), "/").body
	if strings.Contains(page, "<script src=\"https://evil") {
		t.Error("an account's text became markup")
	}
}

func TestThePageOffersItsAccounts(t *testing.T) {
	page := get(viewer.New(demo), "/").body
	for _, want := range []string{`data-account="ada"`, `data-token-url="http://127.0.0.1:9999/token?account=bo"`, "low zooms", "<details id=\"paste\">"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	page = get(viewer.New(viewer.Options{}), "/").body
	if strings.Contains(page, "data-account") || !strings.Contains(page, `<details id="paste" open>`) {
		t.Error("without accounts the page should ask for a token, and offer nothing else")
	}
}

func TestThePageOffersTheIdentityProvider(t *testing.T) {
	for _, login := range []bool{true, false} {
		page := get(viewer.New(viewer.Options{Login: login, Base: "/maps/"}), "/").body
		if got := strings.Contains(page, `href="/maps/login"`); got != login {
			t.Errorf("with login %v: got %v", login, got)
		}
	}
}

func TestMapLibreComesFromTheCDNUnlessEmbedded(t *testing.T) {
	script, style, worker := &fstest.MapFile{Data: []byte("1")}, &fstest.MapFile{Data: []byte("2")}, &fstest.MapFile{Data: []byte("3")}
	tests := []struct {
		name  string
		files fstest.MapFS
	}{
		{"not fetched", nil},
		{"without its worker", fstest.MapFS{"maplibre/maplibre-map-A.js": script, "maplibre/maplibre-shared-A.js": script, "maplibre/maplibre-style-A.css": style}},
		{"two of them", fstest.MapFS{
			"maplibre/maplibre-map-A.js": script, "maplibre/maplibre-map-B.js": script, "maplibre/maplibre-shared-A.js": script,
			"maplibre/maplibre-worker-A.js": worker, "maplibre/maplibre-style-A.css": style,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := get(viewer.NewOf(demo, without(t, test.files)), "/")
			policy, page := w.header.Get("Content-Security-Policy"), w.body
			for _, want := range []string{"script-src 'self' https://unpkg.com;", "style-src 'self' https://unpkg.com;", "worker-src 'self' blob:;", "connect-src 'self' http://127.0.0.1:9999 https://unpkg.com;"} {
				if !strings.Contains(policy, want) {
					t.Errorf("policy: got %q, want it to contain %q", policy, want)
				}
			}
			for _, want := range []string{
				`data-script="https://unpkg.com/maplibre-gl@6.17.0/dist/maplibre-gl.mjs"`, `data-script-hash="sha384-`, `data-sheet-hash="sha384-`,
				`data-worker-hash="sha384-`, `data-embedded="false"`, "make viewer",
			} {
				if !strings.Contains(page, want) {
					t.Errorf("the page does not contain %q", want)
				}
			}
		})
	}
}

// What a CDN sends is held to the hashes of what npm has, which its lock file holds to a hash in turn.
func TestMapLibresHashesAreThoseOfTheLockedPackage(t *testing.T) {
	embedded(t)
	page := get(viewer.NewOf(demo, without(t, nil)), "/").body
	for _, name := range []string{"maplibre-gl.mjs", "maplibre-gl-worker.mjs", "maplibre-gl.css"} {
		body, err := os.ReadFile("node_modules/maplibre-gl/dist/" + name)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha512.Sum384(body)
		if want := "sha384-" + base64.StdEncoding.EncodeToString(sum[:]); !strings.Contains(html.UnescapeString(page), want) {
			t.Errorf("%s: the page does not name its hash %s", name, want)
		}
	}
}

// embedded skips a test of what `make viewer` fetches, and fails it in CI.
func embedded(t *testing.T) {
	t.Helper()
	if names, err := fs.Glob(viewer.Files, "maplibre/maplibre-map-*.js"); err != nil || len(names) == 0 {
		testenv.Missing(t, "MapLibre in the map page", "make viewer")
	}
}

func TestMapLibreIsEmbeddedWhenFetched(t *testing.T) {
	embedded(t)
	v := viewer.New(demo)
	w := get(v, "/")
	if policy := w.header.Get("Content-Security-Policy"); strings.Contains(policy, "unpkg") || strings.Contains(policy, "blob:") {
		t.Errorf("policy: got %q, want no CDN", policy)
	}
	for _, name := range []string{"script", "worker", "sheet"} {
		found := regexp.MustCompile(`data-` + name + `="([^"]+)"`).FindStringSubmatch(w.body)
		if found == nil || !strings.HasPrefix(found[1], "viewer/") || !get(v, "/"+found[1]).found {
			t.Errorf("MapLibre's %s: got %v, want a file of ours", name, found)
			continue
		}
		if got := get(v, "/"+found[1]).header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
			t.Errorf("%s: got Cache-Control %q, though its name changes with its content", found[1], got)
		}
	}
}

// The map's scripts are what a first visit waits for.
func TestScriptsAreSmallOverTheWire(t *testing.T) {
	embedded(t)
	const limit = 350_000
	v := viewer.New(demo)
	paths := []string{"/tilegate.js"}
	for _, pattern := range []string{"page/*.js", "maplibre/*.js"} {
		names, err := fs.Glob(viewer.Files, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if name != "page/tilegate.js" {
				paths = append(paths, "/viewer/"+path.Base(name))
			}
		}
	}
	for _, best := range [][]string{{"br", "gzip"}, {"gzip"}} {
		total := 0
		for _, path := range paths {
			for _, coding := range best {
				if _, body, ok := v.File(path, coding); ok {
					total += len(body)
					break
				}
			}
		}
		if total > limit || total < limit/2 {
			t.Errorf("%v: got %d bytes in %d files, want at most %d", best, total, len(paths), limit)
		}
	}
}

// Lines that look like comments are comments: none is within a text of several lines. Without them the scripts say the same.
func TestScriptsAreServedWithoutTheirComments(t *testing.T) {
	v := viewer.New(demo)
	names, err := fs.Glob(viewer.Files, "page/*.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		source, err := fs.ReadFile(viewer.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		within := false
		for i, line := range strings.Split(string(source), "\n") {
			if comment := strings.HasPrefix(strings.TrimLeft(line, "\t"), "//"); comment && within {
				t.Errorf("%s:%d: a line of a text begins as a comment does", name, i+1)
			} else if !comment && strings.Count(line, "`")%2 == 1 {
				within = !within
			}
		}
		if served := get(v, "/viewer/"+path.Base(name)).body; name != "page/tilegate.js" && (len(served) < len(source)/2 || regexp.MustCompile(`(?m)^\t*//`).MatchString(served)) {
			t.Errorf("%s: got %d bytes of %d, with comments", name, len(served), len(source))
		}
	}
}

// Each coding is of the same bytes.
func TestCodedFilesAreTheFiles(t *testing.T) {
	v := viewer.New(demo)
	for _, path := range []string{"/", "/tilegate.js", "/tilegate.mjs", "/viewer/viewer.js", "/viewer/viewer.css"} {
		_, coded, ok := v.File(path, "gzip")
		if !ok {
			t.Errorf("%s is not there in gzip", path)
			continue
		}
		r, err := gzip.NewReader(bytes.NewReader(coded))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(r); err != nil || string(body) != get(v, path).body {
			t.Errorf("%s: got %d bytes, %v, want the file", path, len(body), err)
		}
	}
}

// Everything that the page loads exists, under the path by which browsers reach the page.
func TestThePagesFilesAreServed(t *testing.T) {
	for _, base := range []string{"", "/maps/", "/a/b/"} {
		h := viewer.New(viewer.Options{Base: base, Accounts: demo.Accounts})
		page := get(h, "/").body
		found := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
		if len(found) < 4 {
			t.Fatalf("files in the page: got %d, want its script, helper, style and mark", len(found))
		}
		for _, match := range found {
			path, ok := strings.CutPrefix(match[1], base)
			if !ok || strings.HasPrefix(path, "/") || !get(h, "/"+path).found {
				t.Errorf("under %q: %s is not there", base, match[1])
			}
		}
	}
}

// A browser learns from the page itself what all of its scripts import, and asks for it at once: no script waits for another.
func TestThePageNamesAllModulesBeforeTheyAreImported(t *testing.T) {
	page := get(viewer.New(demo), "/").body
	imports := regexp.MustCompile(`(?:from|import)\s*"?'?\./([\w.-]+\.js)`)
	for _, pattern := range []string{"page/*.js", "maplibre/*.js"} {
		names, err := fs.Glob(viewer.Files, pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			body, err := fs.ReadFile(viewer.Files, name)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range imports.FindAllStringSubmatch(string(body), -1) {
				if !strings.Contains(page, `<link rel="modulepreload" href="viewer/`+found[1]+`">`) {
					t.Errorf("%s imports %s, which the page does not name", name, found[1])
				}
			}
		}
	}
}

func TestTheHelperIsSmall(t *testing.T) {
	const limit = 3072 // README.md tells its size
	if got := len(get(viewer.New(viewer.Options{}), "/tilegate.js").body); got >= limit {
		t.Errorf("/tilegate.js: got %d bytes, want less than %d", got, limit)
	}
}

// What the helper does is tested in its own language.
func TestTheHelperKeepsASession(t *testing.T) {
	testenv.NodeTest(t, "testdata/tilegate.test.js")
}

// A lock file that names a registry's host ties everyone to it.
func TestLockFilesNameNoRegistry(t *testing.T) {
	for _, name := range []string{"package-lock.json", "../../.ci/browser/package-lock.json"} {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), `"resolved"`) || !strings.Contains(string(body), `"integrity": "sha512-`) {
			t.Errorf("%s should hold hashes and no address: npm config set omit-lockfile-registry-resolved true", name)
		}
	}
}
