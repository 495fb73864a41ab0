package issuer

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"strings"
)

// Handler serves /jwks.json (RFC 7517), /.well-known/openid-configuration (OpenID Connect
// Discovery 1.0), /token when there are accounts, and /authorize, /exchange, /revoke and /end-session when there are clients.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /jwks.json", i.serveKeys)
	mux.HandleFunc("GET /.well-known/openid-configuration", i.serveDiscovery)
	if len(i.opt.Accounts) > 0 {
		mux.HandleFunc("GET /token", i.serveToken)
		mux.HandleFunc("POST /token", i.serveToken)
	}
	if len(i.opt.Clients) > 0 {
		mux.HandleFunc("GET /authorize", i.authorize)
		mux.HandleFunc("POST /exchange", i.exchange)
		mux.HandleFunc("POST /revoke", i.revoke)
		mux.HandleFunc("GET /end-session", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.FormValue("post_logout_redirect_uri"), http.StatusSeeOther) //nolint:gosec // G710: for tests alone
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		i.requests[r.URL.Path]++
		status, gate := i.status, i.gate
		i.mu.Unlock()
		if gate != nil {
			select {
			case <-gate:
			case <-r.Context().Done():
				return
			}
		}
		if status != 0 {
			_ = r.ParseForm() // what is no form is not repeated
			http.Error(w, "the issuer was told to fail; you asked for "+r.Form.Encode(), status)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// Fail answers every request with this status; 0 ends it.
func (i *Issuer) Fail(status int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.status = status
}

// Hang keeps requests waiting until gate is closed, or yields a value for one of them; nil ends it
// for those that come later.
func (i *Issuer) Hang(gate <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.gate = gate
}

// Requests is how many have arrived at a path, e.g. /jwks.json, those that hang or fail included.
func (i *Issuer) Requests(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.requests[path]
}

// jwk is a public key as RFC 7517 and RFC 7518 section 6, and RFC 8037 for Ed25519, write it.
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
}

func (k *key) jwk() (jwk, error) {
	encode := base64.RawURLEncoding.EncodeToString
	out := jwk{ID: k.id, Algorithm: k.algorithm, Use: "sig"}
	switch public := k.private.Public().(type) {
	case *rsa.PublicKey:
		out.Type, out.N, out.E = "RSA", encode(public.N.Bytes()), encode(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := public.Bytes() // 4, x, y, each of the curve's full length
		if err != nil {
			return out, fmt.Errorf("encode key %s: %w", k.id, err)
		}
		half := 1 + (len(point)-1)/2
		out.Type, out.Curve, out.X, out.Y = "EC", "P-256", encode(point[1:half]), encode(point[half:])
	case ed25519.PublicKey:
		out.Type, out.Curve, out.X = "OKP", "Ed25519", encode(public)
	}
	return out, nil
}

func (i *Issuer) serveKeys(w http.ResponseWriter, _ *http.Request) {
	published, err := i.published()
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	for _, k := range published {
		var one jwk
		if one, err = k.jwk(); err != nil {
			break
		}
		set.Keys = append(set.Keys, one)
	}
	if err != nil {
		http.Error(w, "no keys", http.StatusInternalServerError)
		return
	}
	writeJSON(w, set)
}

func (i *Issuer) serveDiscovery(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	name := i.url
	i.mu.Unlock()
	if name == "" {
		name = "http://" + r.Host
	}
	base := strings.TrimSuffix(name, "/")
	document := map[string]any{
		"issuer":                                name,
		"jwks_uri":                              base + "/jwks.json",
		"response_types_supported":              []string{"id_token"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": algorithms,
	}
	if len(i.opt.Clients) > 0 {
		document["response_types_supported"] = []string{"code"}
		document["authorization_endpoint"] = base + "/authorize"
		document["token_endpoint"] = base + "/exchange"
		document["revocation_endpoint"] = base + "/revoke"
		document["end_session_endpoint"] = base + "/end-session"
		document["code_challenge_methods_supported"] = []string{"S256"}
		document["authorization_response_iss_parameter_supported"] = true
	}
	writeJSON(w, document)
}

func (i *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if i.opt.Origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", i.opt.Origin)
	}
	claims, ok := i.opt.Accounts[r.URL.Query().Get("account")]
	if !ok {
		http.Error(w, "no such account", http.StatusNotFound)
		return
	}
	token, err := i.Token("RS256", claims)
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(i.opt.Lifetime.Seconds())})
}

func writeJSON(w http.ResponseWriter, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, "unreadable answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client may have left
}
