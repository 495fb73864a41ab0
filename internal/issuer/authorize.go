package issuer

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// code is what /authorize granted, until it is exchanged for tokens.
type code struct {
	account, client, redirect, challenge, nonce string
	offline                                     bool // a refresh token is wanted
}

// SignIn names the account that /authorize signs in from now on.
func (i *Issuer) SignIn(account string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.account = account
}

// authorize is an authorization endpoint (RFC 6749 section 4.1.1) whose user has agreed. It insists on PKCE with S256.
func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	redirect, err := url.Parse(q.Get("redirect_uri"))
	_, known := i.opt.Clients[q.Get("client_id")]
	if err != nil || redirect.Host == "" || !known || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" {
		http.Error(w, "a client, a redirect_uri and a code_challenge with S256 are required", http.StatusBadRequest)
		return
	}
	back := redirect.Query()
	back.Set("state", q.Get("state"))
	i.mu.Lock()
	back.Set("iss", i.url)
	if i.account == "" {
		back.Set("error", "access_denied")
	} else {
		name := rand.Text()
		i.codes[name] = code{i.account, q.Get("client_id"), q.Get("redirect_uri"), q.Get("code_challenge"), q.Get("nonce"), slices.Contains(strings.Fields(q.Get("scope")), "offline_access")}
		back.Set("code", name)
	}
	i.mu.Unlock()
	redirect.RawQuery = back.Encode()
	http.Redirect(w, r, redirect.String(), http.StatusFound) //nolint:gosec // G710: of a known client; for tests alone
}

// exchange is a token endpoint (RFC 6749 section 4.1.3, RFC 7636 section 4.6). A code is good once.
func (i *Issuer) exchange(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	client, secret, ok := r.BasicAuth()
	if !ok {
		client, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if r.FormValue("grant_type") == "refresh_token" {
		i.renew(w, r, client, secret)
		return
	}
	i.mu.Lock()
	c, found := i.codes[r.FormValue("code")]
	delete(i.codes, r.FormValue("code"))
	i.mu.Unlock()
	sum := sha256.Sum256([]byte(r.FormValue("code_verifier")))
	if want, known := i.opt.Clients[client]; !known || want != secret {
		refuseGrant(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	if !found || c.client != client || c.redirect != r.FormValue("redirect_uri") || base64.RawURLEncoding.EncodeToString(sum[:]) != c.challenge {
		refuseGrant(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	i.grant(w, c, client)
}

// renew is the token endpoint for refresh tokens (RFC 6749 section 6). Each is good once; one that comes again ends the sign-in (RFC 9700
// section 4.14.2).
func (i *Issuer) renew(w http.ResponseWriter, r *http.Request, client, secret string) {
	if want, known := i.opt.Clients[client]; !known || want != secret {
		refuseGrant(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	i.mu.Lock()
	token := r.FormValue("refresh_token")
	c, found := i.refresh[token]
	delete(i.refresh, token)
	if !found {
		clear(i.refresh) // it is a thief's, or a thief was before: no test has two sign-ins that this must spare
	}
	if i.renewAs != "" {
		c.account = i.renewAs
	}
	i.mu.Unlock()
	if !found || c.client != client {
		refuseGrant(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	c.nonce = "" // there is none in an ID token of a renewal
	i.grant(w, c, client)
}

// revoke is a revocation endpoint (RFC 7009 section 2). A token that it does not know is revoked, too.
func (i *Issuer) revoke(w http.ResponseWriter, r *http.Request) {
	client, secret, ok := r.BasicAuth()
	if !ok {
		client, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if want, known := i.opt.Clients[client]; !known || want != secret {
		refuseGrant(w, http.StatusUnauthorized, "invalid_client")
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.refresh[r.FormValue("token")].client == client {
		delete(i.refresh, r.FormValue("token"))
	}
}

// Renewable is how many refresh tokens are good.
func (i *Issuer) Renewable() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.refresh)
}

// RenewAs has refresh tokens yield the tokens of another account, as a broken provider might.
func (i *Issuer) RenewAs(account string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.renewAs = account
}

// RefreshTokens makes refresh tokens at least so many characters long.
func (i *Issuer) RefreshTokens(size int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refreshSize = size
}

// grant answers with the tokens of a sign-in.
func (i *Issuer) grant(w http.ResponseWriter, c code, client string) {
	access := i.opt.Accounts[c.account]
	identity := maps.Clone(access)
	identity["aud"] = client
	if c.nonce != "" {
		identity["nonce"] = c.nonce
	}
	answer := map[string]any{"token_type": "Bearer", "expires_in": int(i.opt.Lifetime.Seconds())}
	accessToken, err := i.Token("RS256", access)
	if err == nil {
		answer["access_token"] = accessToken
		answer["id_token"], err = i.Token("RS256", identity)
	}
	if err != nil {
		http.Error(w, "no token", http.StatusInternalServerError)
		return
	}
	if c.offline {
		token := rand.Text()
		i.mu.Lock()
		token += strings.Repeat("x", max(0, i.refreshSize-len(token)))
		i.refresh[token] = c
		i.mu.Unlock()
		answer["refresh_token"] = token
	}
	writeJSON(w, answer)
}

func refuseGrant(w http.ResponseWriter, status int, reason string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(`{"error":"` + reason + `"}`)) // the client may have left
}
