// Package viewer is the map page and /tilegate.js, the script that signs a web page in; /tilegate.mjs is the same as a
// module.
package viewer

import (
	"bytes"
	"crypto/sha512"
	"embed"
	"encoding/base64"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Options of the page. The zero value makes one that asks for an access token.
type Options struct {
	Accounts []Account // whom the page offers to sign in as; for demonstrations
	// Base is the path under which browsers reach the page, with a slash at its end, e.g. /maps/. "": the page's own,
	// whatever it is.
	Base string
}

// Account is somebody whose access tokens anyone may have.
type Account struct {
	Name        string // unique
	Label       string // on the button
	Description string // what this account may see, beside it
	TokenURL    string // GET answers {"access_token": …}, readable from the page's origin (CORS)
}

// Leaflet as npm and the CDN have it (leaflet 1.9.4, dist/), and what the files hash to: bytes that differ, from a CDN
// or from this binary, are not run.
const (
	leafletCDN    = "https://unpkg.com"
	leafletPath   = leafletCDN + "/leaflet@1.9.4/dist/"
	leafletScript = "sha384-cxOPjt7s7Iz04uaHJceBmS+qpjv2JkIHNVcuOrM+YHwZOmJGBXI00mdUXEq65HTH"
	leafletStyle  = "sha384-sHL9NAb7lN7rfvG5lfHpm643Xkcjzp4jFvuavGOndn6pjVqS6ny56CAt3nsEVT4H"
)

// ourPath is where the page's own files are.
const ourPath = "/viewer/"

// asModule is what makes a module of the script: it knows where it is from, and exports.
const asModule = "tilegate.home = import.meta.url\nexport {tilegate, tilegate as default}\n"

// page holds the page's own files; leaflet what `npm ci` put there, if it ran before the build.
//
//go:embed page leaflet
var files embed.FS

// Viewer holds "/", "/tilegate.js", "/tilegate.mjs" and the page's files under "/viewer/". None of it needs a credential: it is the same
// for everybody.
type Viewer struct {
	files    map[string]file // by URL path
	embedded bool            // Leaflet is among them
}

type file struct {
	header http.Header
	body   []byte
}

// New makes the page and gathers its files.
func New(o Options) *Viewer { return newViewer(o, files) }

func newViewer(o Options, files fs.FS) *Viewer {
	v := &Viewer{files: map[string]file{}, embedded: holdsLeaflet(files)}
	entries, err := fs.Glob(files, "*/*.*")
	if err != nil {
		panic(err) // only a malformed pattern is an error
	}
	for _, name := range entries {
		contentType := contentTypes[path.Ext(name)]
		if contentType == "" {
			continue // the page's template, and what is there to be read in the source
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			panic(err) // the glob found it in the binary
		}
		v.files[ourPath+path.Base(name)] = file{http.Header{"Content-Type": {contentType}}, body}
	}
	script := v.files[ourPath+"tilegate.js"]
	v.files["/tilegate.js"] = script
	v.files["/tilegate.mjs"] = file{script.header, append(bytes.Clone(script.body), asModule...)}
	delete(v.files, ourPath+"tilegate.js")
	v.files["/"] = file{http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {v.contentSecurityPolicy(o)},
		"Referrer-Policy":         {"no-referrer"},
	}, v.render(o)}
	return v
}

// holdsLeaflet reports whether both of Leaflet's files are embedded, and are the very ones that the hashes name.
func holdsLeaflet(files fs.FS) bool {
	for name, want := range map[string]string{"leaflet/leaflet.js": leafletScript, "leaflet/leaflet.css": leafletStyle} {
		body, err := fs.ReadFile(files, name)
		sum := sha512.Sum384(body)
		if err != nil || "sha384-"+base64.StdEncoding.EncodeToString(sum[:]) != want {
			return false
		}
	}
	return true
}

func (v *Viewer) render(o Options) []byte {
	leaflet := o.Base + strings.TrimPrefix(ourPath, "/")
	if !v.embedded {
		leaflet = leafletPath
	}
	var page bytes.Buffer
	err := template.Must(template.ParseFS(files, "page/index.html")).Execute(&page, map[string]any{
		"Accounts": o.Accounts,
		"Embedded": v.embedded,
		"Base":     o.Base,
		"Leaflet":  leaflet,
		"Script":   leafletScript,
		"Style":    leafletStyle,
	})
	if err != nil {
		panic(err) // the template and what it is given are both ours
	}
	return page.Bytes()
}

// contentSecurityPolicy lets the page run our files, reach us and the accounts' token URLs, and no more. Leaflet sets
// styles through the DOM, which needs no 'unsafe-inline', and swaps the tiles that it drops for a data: image.
func (v *Viewer) contentSecurityPolicy(o Options) string {
	code := "'self'"
	if !v.embedded {
		code += " " + leafletCDN
	}
	connect := []string{"'self'"}
	for _, a := range o.Accounts {
		// One that does not parse is left out: the page says that it cannot be reached.
		if u, err := url.Parse(a.TokenURL); err == nil && u.Host != "" {
			connect = append(connect, u.Scheme+"://"+u.Host)
		}
	}
	slices.Sort(connect)
	return "default-src 'none'; script-src " + code + "; style-src " + code + "; img-src 'self' data:; connect-src " +
		strings.Join(slices.Compact(connect), " ") + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// File says what is at a URL's path, with the header fields that are its own; false where nothing is. Neither is to be
// changed.
func (v *Viewer) File(urlPath string) (header http.Header, body []byte, ok bool) {
	f, ok := v.files[urlPath]
	return f.header, f.body, ok
}

// The system's own table differs from one machine to the next.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}
