package viewer_test

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"tilegate/proxy/viewer"
)

var demo = viewer.Options{Accounts: []viewer.Account{
	{Name: "ada", Label: "Ada", Description: "the whole world", TokenURL: "http://127.0.0.1:9999/token?account=ada"},
	{Name: "bo", Label: "Bo", Description: "low zooms", TokenURL: "http://127.0.0.1:9999/token?account=bo"},
}}

func serve(h http.Handler, method, target string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, nil))
	return w
}

// without is the binary's files with others in place of Leaflet's.
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

func TestAnswers(t *testing.T) {
	h := viewer.New(demo)
	tests := []struct {
		name, method, target string
		status               int
		contentType          string
	}{
		{"page", "GET", "/", 200, "text/html; charset=utf-8"},
		{"page's head", "HEAD", "/", 200, "text/html; charset=utf-8"},
		{"helper", "GET", "/tilegate.js", 200, "text/javascript; charset=utf-8"},
		{"script", "GET", "/viewer/viewer.js", 200, "text/javascript; charset=utf-8"},
		{"style", "GET", "/viewer/viewer.css", 200, "text/css; charset=utf-8"},
		{"mark", "GET", "/viewer/tilegate.svg", 200, "image/svg+xml"},
		{"no such file", "GET", "/viewer/other.js", 404, "application/problem+json"},
		{"the template's source", "GET", "/viewer/index.html", 404, "application/problem+json"},
		{"out of the folder", "GET", "/viewer/../viewer.go", 404, "application/problem+json"},
		{"the folder", "GET", "/viewer/", 404, "application/problem+json"},
		{"another path", "GET", "/elsewhere", 404, "application/problem+json"},
		{"method", "POST", "/", 405, "application/problem+json"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := serve(h, test.method, test.target)
			if w.Code != test.status {
				t.Errorf("status: got %d, want %d", w.Code, test.status)
			}
			for name, want := range map[string]string{
				"Content-Type": test.contentType, "Cache-Control": "private, no-store", "X-Content-Type-Options": "nosniff",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if test.method == "HEAD" && w.Body.Len() > 0 {
				t.Errorf("body of HEAD: got %d bytes", w.Body.Len())
			}
			if test.status >= 400 {
				var problem struct{ Status int }
				if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != test.status {
					t.Errorf("problem: got %q, want status %d (%v)", w.Body, test.status, err)
				}
			}
		})
	}
	if got, want := serve(h, "POST", "/").Header().Get("Allow"), "GET, HEAD"; got != want {
		t.Errorf("Allow: got %q, want %q", got, want)
	}
	if got, want := serve(h, "GET", "/tilegate.js").Header().Get("Cross-Origin-Resource-Policy"), "cross-origin"; got != want {
		t.Errorf("Cross-Origin-Resource-Policy of the helper: got %q, want %q", got, want)
	}
}

// The page's policy admits no script but files, so the page must not contain any other; nor styles.
func TestScriptInjectionIsStoppedByThePolicy(t *testing.T) {
	w := serve(viewer.New(demo), "GET", "/")
	policy := w.Header().Get("Content-Security-Policy")
	for _, want := range []string{
		"default-src 'none'", "img-src 'self' data:", "connect-src 'self' http://127.0.0.1:9999;",
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
		if found := regexp.MustCompile(banned).FindString(w.Body.String()); found != "" {
			t.Errorf("the page contains %q, which its policy forbids", found)
		}
	}
}

func TestAccountsAreTextNotMarkup(t *testing.T) {
	evil := `"><script src="https://evil.example/x.js"></script>`
	page := serve(viewer.New(viewer.Options{Accounts: []viewer.Account{
		{Name: evil, Label: evil, Description: evil, TokenURL: "https://id.example/" + evil},
	}}), "GET", "/").Body.String()
	if strings.Contains(page, "<script src=\"https://evil") {
		t.Error("an account's text became markup")
	}
}

func TestThePageOffersItsAccounts(t *testing.T) {
	page := serve(viewer.New(demo), "GET", "/").Body.String()
	for _, want := range []string{`data-account="ada"`, `data-token-url="http://127.0.0.1:9999/token?account=bo"`, "low zooms", "<details id=\"paste\">"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not contain %q", want)
		}
	}
	page = serve(viewer.New(viewer.Options{}), "GET", "/").Body.String()
	if strings.Contains(page, "data-account") || !strings.Contains(page, `<details id="paste" open>`) {
		t.Error("without accounts the page should ask for a token, and offer nothing else")
	}
}

func TestLeafletComesFromTheCDNUnlessEmbedded(t *testing.T) {
	tests := []struct {
		name  string
		files fstest.MapFS
	}{
		{"not fetched", nil},
		{"another version", fstest.MapFS{"leaflet/leaflet.js": {Data: []byte("other")}, "leaflet/leaflet.css": {Data: []byte("other")}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := serve(viewer.NewOf(demo, without(t, test.files)), "GET", "/")
			policy, page := w.Header().Get("Content-Security-Policy"), w.Body.String()
			if !strings.Contains(policy, "script-src 'self' https://unpkg.com;") || !strings.Contains(policy, "style-src 'self' https://unpkg.com;") {
				t.Errorf("policy: got %q, want it to admit the CDN", policy)
			}
			for _, want := range []string{
				`data-leaflet="https://unpkg.com/leaflet@1.9.4/dist/"`, `data-script="sha384-`, `data-style="sha384-`, `data-embedded="false"`,
			} {
				if !strings.Contains(page, want) {
					t.Errorf("the page does not contain %q", want)
				}
			}
		})
	}
}

func TestLeafletIsEmbeddedWhenFetched(t *testing.T) {
	if _, err := fs.Stat(viewer.Files, "leaflet/leaflet.js"); err != nil {
		const install = "Leaflet is missing: npm ci --prefix proxy/viewer"
		if os.Getenv("CI") == "true" {
			t.Fatal(install)
		}
		t.Skip(install)
	}
	h := viewer.New(demo)
	w := serve(h, "GET", "/")
	if policy := w.Header().Get("Content-Security-Policy"); strings.Contains(policy, "unpkg") {
		t.Errorf("policy: got %q, want no CDN", policy)
	}
	if !strings.Contains(w.Body.String(), `data-leaflet="/viewer/"`) {
		t.Error("the page does not ask us for Leaflet")
	}
	for _, name := range []string{"leaflet.js", "leaflet.css"} {
		if got := serve(h, "GET", "/viewer/"+name).Code; got != http.StatusOK {
			t.Errorf("%s: got %d, want 200", name, got)
		}
	}
}

// Everything that the page loads exists.
func TestThePagesFilesAreServed(t *testing.T) {
	h := viewer.New(demo)
	page := serve(h, "GET", "/").Body.String()
	found := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(found) < 4 {
		t.Fatalf("files in the page: got %d, want its script, helper, style and mark", len(found))
	}
	for _, match := range found {
		if got := serve(h, "GET", match[1]).Code; got != http.StatusOK {
			t.Errorf("GET %s: got %d, want 200", match[1], got)
		}
	}
}

func TestTheHelperIsSmall(t *testing.T) {
	const limit = 2048
	if got := serve(viewer.New(viewer.Options{}), "GET", "/tilegate.js").Body.Len(); got >= limit {
		t.Errorf("/tilegate.js: got %d bytes, want less than %d", got, limit)
	}
}

// What the helper does is tested in its own language.
func TestTheHelperKeepsASession(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		const install = "Node.js is missing: apt-get install nodejs"
		if os.Getenv("CI") == "true" {
			t.Fatal(install)
		}
		t.Skip(install)
	}
	out, err := exec.CommandContext(t.Context(), node, "--test", "testdata/tilegate.test.js").CombinedOutput()
	if err != nil {
		t.Errorf("node --test: %v\n%s", err, out)
	}
}

// A lock file that names a registry's host ties everyone to it.
func TestLockFilesNameNoRegistry(t *testing.T) {
	for _, name := range []string{"package-lock.json", "../../.ci/browser/package-lock.json"} {
		body, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), "://") || !strings.Contains(string(body), `"integrity": "sha512-`) {
			t.Errorf("%s should hold hashes and no address: npm config set omit-lockfile-registry-resolved true", name)
		}
	}
}
