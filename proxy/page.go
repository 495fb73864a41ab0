package proxy

import (
	"net/http"
)

// Viewer is the map page, /tilegate.js, /tilegate.mjs, and what lies under /viewer/.
type Viewer interface {
	// File returns what is at a URL's path in a content coding, "" for none, and its header fields; false where nothing
	// is, or not in that coding.
	File(urlPath, coding string) (header http.Header, body []byte, ok bool)
}

const viewerPath = "/viewer/"

// page answers with a file as a whole: they are small, and part of a script is of no use.
func (p *Proxy) page(x *exchange, r *http.Request) error {
	header, body, ok := p.opt.Viewer.File(r.URL.Path, "")
	if !ok {
		return errNotFound
	}
	varyByEncoding(x)
	for _, coding := range []string{"br", "gzip"} {
		if _, coded, ok := p.opt.Viewer.File(r.URL.Path, coding); ok && accepts(r.Header["Accept-Encoding"], coding) {
			body = coded
			x.Set("Content-Encoding", []string{coding})
			break
		}
	}
	for name, values := range header {
		x.Set(name, values)
	}
	if r.URL.Path == "/tilegate.js" || r.URL.Path == "/tilegate.mjs" {
		// Pages of any site load it by <script>; it knows nothing that is secret.
		x.resourcePolicy = crossOrigin
	}
	x.Set("Content-Length", []string{formatLength(int64(len(body)))})
	x.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	_, err := x.Write(body)
	return err
}
