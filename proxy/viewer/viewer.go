// Package viewer is the map page and /tilegate.js, the script that signs a web page in; /tilegate.mjs is the same as a
// module.
package viewer

import (
	"bytes"
	"compress/gzip"
	"embed"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Options of the page. The zero value makes one that asks for an access token.
type Options struct {
	Login    bool      // /login and /logout are there
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

// MapLibre GL JS as npm and the CDN have it (maplibre-gl 6.17.0, dist/), and what the files hash to: bytes of a CDN that
// differ are not run.
const (
	maplibreCDN    = "https://unpkg.com"
	maplibrePath   = maplibreCDN + "/maplibre-gl@6.17.0/dist/"
	maplibreScript = "sha384-pghUwrZY2q/5xc+bZCYbeUP4JsNuZEmG8j+ZvzJMC1DOy3Rdj5AhRNThLRAiEjSb"
	maplibreWorker = "sha384-3TQUOa/0LGT7Cx/33YaLIs5RPzqGBCUAlmA8ht2ofWIP6UugFoidHfikpRijBozF"
	maplibreStyle  = "sha384-S+OnE5M4U3Qc2nR0RgljGrVs06xqfRg8L7uFk/pOF5+sRuSDG4oKkqKZmFrx7w09"
)

// ourPath is where the page's own files are.
const ourPath = "/viewer/"

// asModule is what makes a module of the script: it knows where it is from, and exports.
const asModule = "tilegate.home = import.meta.url\nexport {tilegate, tilegate as default}\n"

// page holds the page's own files; maplibre what `npm ci` put there, if it ran before the build.
//
//go:embed page maplibre
var files embed.FS

// Viewer holds "/", "/tilegate.js", "/tilegate.mjs" and the page's files under "/viewer/". None of it needs a credential: it is the same
// for everybody.
type Viewer struct {
	files    map[string]file // by URL path
	maplibre library
}

// file is one of the page's files. Its bodies are by content coding: "" is the file itself; "gzip" and "br", compressed
// beforehand, are there where they are smaller.
type file struct {
	header http.Header
	bodies map[string][]byte
}

// library is where the page finds MapLibre, and what the files hash to. Without hashes they are our own.
type library struct {
	Script, Worker, Style             string
	ScriptHash, WorkerHash, StyleHash string
	Embedded                          bool
	Parts                             []string // which the script and the worker import
}

// comments are the lines of a script that are nothing else. They are for those who read the source, and browsers do
// without a tenth of the page's scripts.
var comments = regexp.MustCompile(`(?m)^\t*//.*\n`)

// New makes the page and gathers its files.
func New(o Options) *Viewer { return newViewer(o, files) }

func newViewer(o Options, files fs.FS) *Viewer {
	v := &Viewer{files: map[string]file{}, maplibre: findMapLibre(o, files)}
	for _, name := range glob(files, "*/*.*") {
		contentType := contentTypes[path.Ext(name)]
		if contentType == "" {
			continue // the page's template, what is there to be read in the source, and compressed files
		}
		header := http.Header{"Content-Type": {contentType}}
		bodies := map[string][]byte{"": read(files, name)}
		if path.Dir(name) == "maplibre" {
			header["Cache-Control"] = []string{"private, max-age=31536000, immutable"} // the content's hash is in the name
			for coding, suffix := range map[string]string{"gzip": ".gz", "br": ".br"} {
				if body, err := fs.ReadFile(files, name+suffix); err == nil {
					bodies[coding] = body
				}
			}
		} else {
			if path.Ext(name) == ".js" && path.Base(name) != "tilegate.js" {
				bodies[""] = comments.ReplaceAll(bodies[""], nil)
			}
			bodies["gzip"] = gzipped(bodies[""])
		}
		v.files[ourPath+path.Base(name)] = file{header, bodies}
	}
	script := v.files[ourPath+"tilegate.js"]
	v.files["/tilegate.js"] = script
	module := append(bytes.Clone(script.bodies[""]), asModule...)
	v.files["/tilegate.mjs"] = file{script.header, map[string][]byte{"": module, "gzip": gzipped(module)}}
	delete(v.files, ourPath+"tilegate.js")
	page := v.render(o, files)
	v.files["/"] = file{http.Header{
		"Content-Type":            {"text/html; charset=utf-8"},
		"Content-Security-Policy": {v.contentSecurityPolicy(o)},
		"Referrer-Policy":         {"no-referrer"},
	}, map[string][]byte{"": page, "gzip": gzipped(page)}}
	return v
}

// findMapLibre names the embedded files, or the CDN's where one of them is not embedded.
func findMapLibre(o Options, files fs.FS) library {
	own := library{Embedded: true}
	for pattern, url := range map[string]*string{"map-*.js": &own.Script, "worker-*.js": &own.Worker, "style-*.css": &own.Style} {
		names := glob(files, "maplibre/maplibre-"+pattern)
		if len(names) != 1 || len(glob(files, "maplibre/maplibre-shared-*.js")) == 0 {
			return library{
				Script: maplibrePath + "maplibre-gl.mjs", ScriptHash: maplibreScript,
				Worker: maplibrePath + "maplibre-gl-worker.mjs", WorkerHash: maplibreWorker,
				Style: maplibrePath + "maplibre-gl.css", StyleHash: maplibreStyle,
			}
		}
		*url = address(o, names[0])
	}
	for _, name := range glob(files, "maplibre/maplibre-shared-*.js") {
		own.Parts = append(own.Parts, address(o, name))
	}
	return own
}

// address is where a page finds one of the files.
func address(o Options, name string) string {
	return o.Base + strings.TrimPrefix(ourPath, "/") + path.Base(name)
}

func glob(files fs.FS, pattern string) []string {
	names, err := fs.Glob(files, pattern)
	if err != nil {
		panic(err) // only a malformed pattern is an error
	}
	return names
}

func read(files fs.FS, name string) []byte {
	body, err := fs.ReadFile(files, name)
	if err != nil {
		panic(err) // the glob found it in the binary
	}
	return body
}

func gzipped(body []byte) []byte {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(err) // the level is a valid one, and a buffer takes everything
	}
	return b.Bytes()
}

func (v *Viewer) render(o Options, files fs.FS) []byte {
	var modules []string
	for _, name := range glob(files, "page/*.js") {
		if base := path.Base(name); base != "viewer.js" && base != "tilegate.js" {
			modules = append(modules, address(o, name))
		}
	}
	var page bytes.Buffer
	err := template.Must(template.ParseFS(files, "page/index.html")).Execute(&page, map[string]any{
		"Accounts": o.Accounts,
		"Base":     o.Base,
		"Login":    o.Login,
		"MapLibre": v.maplibre,
		"Modules":  modules,
	})
	if err != nil {
		panic(err) // the template and what it is given are both ours
	}
	return page.Bytes()
}

// contentSecurityPolicy lets the page run our files, reach us and the accounts' token URLs, and no more. MapLibre sets
// styles through the DOM, which needs no 'unsafe-inline', and its icons are data: images. A worker of another origin is
// refused by browsers, so that a CDN's is fetched, checked and started from a blob.
func (v *Viewer) contentSecurityPolicy(o Options) string {
	code, worker, connect := "'self'", "'self'", []string{"'self'"}
	if !v.maplibre.Embedded {
		code += " " + maplibreCDN
		worker += " blob:"
		connect = append(connect, maplibreCDN)
	}
	for _, a := range o.Accounts {
		// One that does not parse is left out: the page says that it cannot be reached.
		if u, err := url.Parse(a.TokenURL); err == nil && u.Host != "" {
			connect = append(connect, u.Scheme+"://"+u.Host)
		}
	}
	slices.Sort(connect)
	return "default-src 'none'; script-src " + code + "; style-src " + code + "; worker-src " + worker + "; img-src 'self' data:; connect-src " +
		strings.Join(slices.Compact(connect), " ") + "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// File says what is at a URL's path in a content coding, "" for none, with the header fields that are its own; false where
// nothing is. Neither is to be changed.
func (v *Viewer) File(urlPath, coding string) (header http.Header, body []byte, ok bool) {
	f := v.files[urlPath]
	body, ok = f.bodies[coding]
	return f.header, body, ok
}

// The system's own table differs from one machine to the next.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}
