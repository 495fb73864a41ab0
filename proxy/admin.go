package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"strings"

	"tilegate/auth"
)

// Admin is the handler of the admin listener: metrics, profiles, purge, revoke. token guards all but
// metrics; nil where the listener is on loopback and needs none. A request with an Origin comes from
// a page, and no page has business here: it is refused, whatever else it brings.
func (p *Proxy) Admin(metrics http.Handler, token []byte) http.Handler {
	guarded := http.NewServeMux()
	guarded.HandleFunc("/debug/pprof/", pprof.Index)
	guarded.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
	guarded.HandleFunc("/debug/pprof/profile", pprof.Profile)
	guarded.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	guarded.HandleFunc("/debug/pprof/trace", pprof.Trace)
	guarded.HandleFunc("POST /admin/purge", p.purge)
	guarded.HandleFunc("POST /admin/revoke", p.revoke)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Cache-Control"] = noStore
		w.Header()["X-Content-Type-Options"] = nosniff
		switch {
		case r.Header["Origin"] != nil:
			adminProblem(w, http.StatusForbidden, "Pages have no business on the admin listener.")
		case r.URL.Path == "/metrics":
			metrics.ServeHTTP(w, r)
		case token != nil && !bearer(r, token):
			w.Header()["Www-Authenticate"] = []string{`Bearer realm="tilegate admin"`}
			adminProblem(w, http.StatusUnauthorized, "Send server.admin_token as Authorization: Bearer.")
		default:
			guarded.ServeHTTP(w, r)
		}
	})
}

// bearer compares the request's bearer token with the admin's in constant time.
func bearer(r *http.Request, token []byte) bool {
	given := r.Header["Authorization"]
	if len(given) != 1 {
		return false
	}
	scheme, value, _ := strings.Cut(given[0], " ")
	want, have := sha256.Sum256(token), sha256.Sum256([]byte(value))
	return subtle.ConstantTimeCompare(want[:], have[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// purge forgets a tileset's tiles.
func (p *Proxy) purge(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Tileset string `json:"tileset"`
	}
	if !adminJSON(w, r, &asked) {
		return
	}
	if p.tilesets[asked.Tileset] == nil {
		adminProblem(w, http.StatusNotFound, "No tileset has this id.")
		return
	}
	purged := p.cache.Purge(asked.Tileset)
	p.logger.InfoContext(r.Context(), "tileset purged", "tileset", asked.Tileset, "entries", purged)
	adminAnswer(w, map[string]int{"purged": purged})
}

// revoke refuses, from now on, everything of a subject's or everything minted from one token.
func (p *Proxy) revoke(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Subject string `json:"subject"`
		TokenID string `json:"token_id"`
	}
	if !adminJSON(w, r, &asked) {
		return
	}
	if (asked.Subject == "") == (asked.TokenID == "") {
		adminProblem(w, http.StatusBadRequest, `Send either {"subject": …} or {"token_id": …}.`)
		return
	}
	if err := p.auth.Revoke(auth.Revocation{Subject: asked.Subject, TokenID: asked.TokenID}); err != nil {
		p.logger.ErrorContext(r.Context(), "revocation refused", "error", err)
		adminProblem(w, http.StatusServiceUnavailable, "The list of revocations is full; see the log.")
		return
	}
	p.logger.InfoContext(r.Context(), "revoked", "subject", asked.Subject, "token_id", asked.TokenID)
	w.WriteHeader(http.StatusNoContent)
}

func adminJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil || d.More() {
		adminProblem(w, http.StatusBadRequest, "The body is not the JSON object that this address takes.")
		return false
	}
	return true
}

func adminAnswer(w http.ResponseWriter, v any) {
	w.Header()["Content-Type"] = []string{"application/json"}
	_ = json.NewEncoder(w).Encode(v) // a client that has gone needs no answer
}

func adminProblem(w http.ResponseWriter, status int, detail string) {
	w.Header()["Content-Type"] = problemType
	w.WriteHeader(status)
	_, _ = w.Write(problemBody(failure{status: status, detail: detail}, ""))
}
