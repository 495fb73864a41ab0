package wire

import (
	"bytes"
	"net/http"
)

// field is one header field of an answer.
type field struct {
	name   string // canonical
	values []string
}

// maxLines bounds the header lines that go around net/http, in bytes. A longer header takes its way.
const maxLines = 3 << 10

// Set sets a header field. name is canonical, as http.CanonicalHeaderKey returns it; values is not
// changed, so it may be shared. Fields that are set here leave the header map of net/http alone, which
// outgrows its first group at the ninth field, is cloned, and is sorted: with the fields that CORS adds,
// that is a quarter of what a cached tile costs.
//
// It is not inlined: a caller that sets ten fields would have ten copies of it on its stack, which HTTP/2 grows anew for each
// request.
//
//go:noinline
func (w *Writer) Set(name string, values []string) {
	for i := range w.fields {
		if w.fields[i].name == name {
			w.fields[i].values = values
			return
		}
	}
	w.fields = append(w.fields, field{name, values})
}

// Get returns what Set has set, nil when the field is not set.
func (w *Writer) Get(name string) []string {
	for i := range w.fields {
		if w.fields[i].name == name {
			return w.fields[i].values
		}
	}
	return nil
}

// Del takes a field back.
func (w *Writer) Del(name string) {
	for i := range w.fields {
		if w.fields[i].name == name {
			w.fields = append(w.fields[:i], w.fields[i+1:]...)
			return
		}
	}
}

// place hands the fields to whoever sends them: over HTTP/1 on a connection of ours they go around
// net/http as lines, otherwise into its header map.
func (w *Writer) place(status int) {
	h := w.Header()
	if w.joins() && w.conn.clear && w.format(h) {
		w.conn.socket.splice(status, w.lines)
		return
	}
	if w.joins() && w.conn.clear {
		w.conn.socket.splice(0, nil)
	}
	for _, f := range w.fields {
		h[f.name] = f.values
	}
}

// format writes the fields as lines, and reports whether they may go around net/http. The fields that
// net/http goes by itself stay in its map.
func (w *Writer) format(h http.Header) bool {
	b, lines := w.lines[:0], 0
	for _, f := range w.fields {
		if netHTTPReads(f.name) {
			h[f.name] = f.values
			continue
		}
		for _, value := range f.values {
			b = append(b, f.name...)
			b = append(b, ": "...)
			b = append(b, value...)
			b = append(b, "\r\n"...)
			lines++
		}
	}
	w.lines = b
	// A line break within a value would begin a field, or a body, of the one who chose the value. net/http
	// replaces it.
	return len(b) <= maxLines && bytes.Count(b, []byte{'\n'}) == lines && bytes.Count(b, []byte{'\r'}) == lines
}

// netHTTPReads reports whether net/http decides by a field of the answer: how the body is delimited, what
// it is when nobody says so, and whether the connection stays.
func netHTTPReads(name string) bool {
	switch name {
	case "Content-Length", "Content-Type", "Content-Encoding", "Transfer-Encoding", "Connection", "Date", "Trailer":
		return true
	}
	return false
}
