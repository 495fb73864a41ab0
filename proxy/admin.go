package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"slices"
	"strings"
)

// Admin is the handler of the admin listener: metrics, profiles, the cache, usage, purge, revocations, reload. token guards all but the
// metrics. It is nil where the listener is on loopback and needs none.
//
// Requests of web pages are refused, with or without the token. On loopback a request is refused as well
// when its Host is not a name of this machine: a page of another name could have been rebound to
// 127.0.0.1, and could read the metrics, which need no token.
func (p *Proxy) Admin(metrics http.Handler, token []byte) http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("/debug/pprof/", pprof.Index)
	guarded.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	guarded.HandleFunc("/debug/pprof/profile", pprof.Profile)
	guarded.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	guarded.HandleFunc("/debug/pprof/trace", pprof.Trace)
	guarded.HandleFunc("POST /admin/purge", adminHandler(p.purge))
	guarded.HandleFunc("POST /admin/revoke", adminHandler(p.revoke))
	guarded.HandleFunc("POST /admin/reload", adminHandler(p.reload))
	guarded.HandleFunc("/admin/reload", refuseAdmin(methodNotAllowed(http.MethodPost)))
	guarded.HandleFunc("/admin/purge", refuseAdmin(methodNotAllowed(http.MethodPost)))
	guarded.HandleFunc("/admin/revoke", refuseAdmin(methodNotAllowed(http.MethodPost)))
	guarded.HandleFunc("GET /admin/revocations", adminHandler(p.listRevocations))
	guarded.HandleFunc("DELETE /admin/revocations", adminHandler(p.undoRevocation))
	guarded.HandleFunc("/admin/revocations", refuseAdmin(methodNotAllowed("GET, HEAD, DELETE")))
	guarded.HandleFunc("GET /admin/cache", adminHandler(p.cacheUsage))
	guarded.HandleFunc("/admin/cache", refuseAdmin(methodNotAllowed("GET, HEAD")))
	guarded.HandleFunc("GET /admin/usage", adminHandler(p.usage))
	guarded.HandleFunc("/admin/usage", refuseAdmin(methodNotAllowed("GET, HEAD")))
	guarded.HandleFunc("/", refuseAdmin(errNotFound))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"] = noStore
		w.Header()["X-Content-Type-Options"] = nosniff
		switch {
		case fromPage(r) || (token == nil || onLoopback(r)) && !loopbackName(r.Host):
			adminProblem(w, refuse(http.StatusForbidden, "The admin listener does not answer web pages, or other host names than its own."))
		case r.URL.Path == "/metrics":
			metrics.ServeHTTP(w, r)
		case token != nil && !bearer(r, token):
			w.Header()["Www-Authenticate"] = []string{`Bearer realm="tilegate admin"`}
			adminProblem(w, refuse(http.StatusUnauthorized, "Send server.admin_token as Authorization: Bearer."))
		default:
			guarded.ServeHTTP(w, r)
		}
	})
}

// fromPage reports whether a browser sent the request on behalf of a page. Requests of scripts and forms
// have an Origin; those of images at least say that another site asked (W3C Fetch Metadata).
func fromPage(r *http.Request) bool {
	site := r.Header["Sec-Fetch-Site"]
	return r.Header["Origin"] != nil || site != nil && !slices.Equal(site, []string{"none"})
}

// onLoopback reports whether a request came to an address that only this machine reaches.
func onLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.IP.IsLoopback()
}

// loopbackName reports whether a Host is a loopback address, or localhost. Any other name may be that of
// a page which was rebound to 127.0.0.1; a GET of such a page has no Origin.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if host == "localhost" {
		return true
	}
	address, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && address.IsLoopback()
}

// bearer compares the request's bearer token with the admin's in constant time.
func bearer(r *http.Request, token []byte) bool {
	given := r.Header["Authorization"]
	if len(given) != 1 || len(token) == 0 {
		return false
	}
	scheme, value, _ := strings.Cut(given[0], " ")
	want, have := sha256.Sum256(token), sha256.Sum256([]byte(value))
	return subtle.ConstantTimeCompare(want[:], have[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

func adminJSON(w http.ResponseWriter, v any) error {
	w.Header()["Content-Type"] = []string{"application/json"}
	return encodeJSON(w, v)
}

func encodeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

func adminHandler(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			adminProblem(w, err)
		}
	}
}

// refuseAdmin answers in place of ServeMux, whose own refusals are plain text.
func refuseAdmin(why error) http.HandlerFunc {
	return adminHandler(func(http.ResponseWriter, *http.Request) error { return why })
}

func adminProblem(w http.ResponseWriter, err error) {
	f := failureOf(err, "")
	if refused, ok := errors.AsType[*refusal](err); ok && refused.allow != "" {
		w.Header()["Allow"] = []string{refused.allow}
	}
	w.Header()["Content-Type"] = problemType
	w.WriteHeader(f.status)
	_, _ = w.Write(problemBody(f, "")) // a client that has gone needs no answer
}
