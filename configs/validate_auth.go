package configs

import (
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"tilegate/auth"
	"tilegate/internal/tile"
)

var queryParameter = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,63}$`)

// auth checks the section. The rules about keys, algorithms, tokens and cookies are those of package auth;
// here are those that it does not know of.
func (v *validator) auth() {
	a := &v.Auth
	for i, issuer := range a.Issuers {
		v.issuer(element("auth.issuers", i), issuer)
	}
	v.claims("auth.claims", a.Claims)
	v.areas()
	v.apiKeys()
	for i, k := range a.SigningKeys {
		if key := element("auth.signing_keys", i); !k.IsSet() && !v.isUnread(key) {
			v.addUnread(key, "names no secret", referenceHint)
		}
	}
	v.login()
	v.oneOf("auth.session.same_site", a.Session.SameSite, "lax", "strict", "none")
	switch p := a.QueryParameter; {
	case p == "":
	case !queryParameter.MatchString(p):
		v.fault("auth.query_parameter", "must be a letter, then letters, digits or _.-", "write access_token")
	case slices.Contains([]string{"v", "redirect", "cdn"}, p):
		v.fault("auth.query_parameter", "is a parameter that tilegate gives another meaning", "write access_token")
	}
	v.verify()
	v.authOptions()
	v.someAccess()
}

// login checks the provider at which browsers sign in.
func (v *validator) login() {
	l := v.Auth.Login
	if l.Issuer == "" {
		if l.ClientID != "" {
			v.fault("auth.login.issuer", "is required by a client of it", "write the issuer of auth.issuers at which browsers sign in")
		}
		return
	}
	if !slices.ContainsFunc(v.Auth.Issuers, func(i Issuer) bool { return i.Issuer == l.Issuer }) {
		v.fault("auth.login.issuer", "is not one of auth.issuers, so that its tokens would be refused", "add it to auth.issuers, spelled alike")
	}
	if u, err := url.Parse(l.Issuer); err != nil || u.Host == "" {
		v.fault("auth.login.issuer", "is not a URL, so that nobody can sign in there", "write the URL that has /.well-known/openid-configuration")
	}
	if l.ClientID == "" {
		v.fault("auth.login.client_id", "is required by auth.login", "the identity provider shows it for the application")
	}
	if !slices.Contains(l.Scopes, "openid") {
		v.fault("auth.login.scopes", "lacks openid, without which there is no ID token", "write [openid]")
	}
	if !loginAfter.MatchString(l.After) {
		v.fault("auth.login.after", "is not a path of tilegate", "write /")
	}
}

var loginAfter = regexp.MustCompile(`^/([A-Za-z0-9._~-]+/?)*$`)

var verifyPrefix = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$`)

// verify checks how other proxies ask for decisions.
func (v *validator) verify() {
	a := &v.Auth
	if a.VerifyHeader == "" {
		const problem, hint = "is of no use without verify_header, by which decisions are asked for", "set auth.verify_header"
		if a.VerifyPrefix != "" {
			v.fault("auth.verify_prefix", problem, hint)
		}
		if a.VerifyPreflight {
			v.fault("auth.verify_preflight", problem, hint)
		}
		return
	}
	v.oneOf("auth.verify_header", a.VerifyHeader, "X-Original-URI", "X-Forwarded-Uri", "X-Original-URL", "X-Envoy-Original-Path", "none")
	if len(v.Server.TrustedProxies) == 0 {
		v.fault("auth.verify_header", "is believed from trusted proxies only, and there are none", "set server.trusted_proxies")
	}
	if a.VerifyPrefix != "" && !verifyPrefix.MatchString(a.VerifyPrefix) {
		v.fault("auth.verify_prefix", "is not a path without a trailing slash", "write /maps")
	}
}

// authOptions reports what package auth would refuse.
func (v *validator) authOptions() {
	options := v.AuthOptions()
	for _, fault := range options.Check() {
		hint := fault.Hint
		if len(fault.Known) > 0 {
			hint = didYouMean(v.positions[fault.Key].value, fault.Known)
		}
		v.fault(fault.Key, fault.Problem, hint, fault.With...)
	}
}

func (v *validator) issuer(key string, i Issuer) {
	if len(i.Audience) == 0 {
		v.fault(child(key, "audience"), "is required", "without it, a token that was meant for another service would be accepted")
	}
	for n, audience := range i.Audience {
		if audience == "" {
			v.fault(element(child(key, "audience"), n), "is empty", "")
		}
	}
	if i.Claims != v.Auth.Claims {
		v.claims(child(key, "claims"), i.Claims)
	}
	if limit := v.Server.Limits.HeaderBytes; i.MaxToken >= limit {
		v.conflict(child(key, "max_token"), "server.limits.header_bytes",
			fmt.Sprintf("a token of max_token (%s) does not fit into a request's header_bytes (%s)", i.MaxToken, limit), "raise header_bytes")
	}
	if i.Allow != nil && i.Allow.Tilesets != nil && len(i.Allow.Tilesets) == 0 {
		v.fault(child(child(key, "allow"), "tilesets"), "is empty, so that nothing this issuer says counts", "name tilesets, or remove the issuer")
	}
}

// claims checks that the names are there: to package auth an empty one stands for its default.
func (v *validator) claims(key string, c Claims) {
	for _, claim := range []struct{ key, name string }{
		{child(key, "tilesets"), c.Tilesets}, {child(key, "zoom"), c.Zoom}, {child(key, "bbox"), c.BBox}, {child(key, "area"), c.Area},
	} {
		if claim.name == "" {
			v.addUnread(claim.key, "is empty", "leave it out for its default")
		}
	}
	if c.ScopePrefix == "" || strings.ContainsAny(c.ScopePrefix, " \t\n") {
		v.fault(child(key, "scope_prefix"), "must be text without spaces", "an empty one would take every scope for a tileset")
	}
}

// areas checks the names of areas, and those that limits have.
func (v *validator) areas() {
	known := slices.Sorted(maps.Keys(v.Auth.Areas))
	for _, name := range known {
		key := child("auth.areas", name)
		v.id(key, name)
		if !v.Auth.Areas[name].File.IsSet() {
			v.fault(child(key, "file"), "is required", "write {file: bavaria.geojson}")
		}
	}
	check := func(key string, l *Limits) {
		if l == nil {
			return
		}
		if l.Area != nil && len(l.Area) == 0 {
			v.fault(child(key, "area"), "names no area", "leave it out for the whole world")
		}
		for i, name := range l.Area {
			if !slices.Contains(known, name) {
				at := child(key, "area")
				if v.written(element(at, i)) {
					at = element(at, i)
				}
				v.fault(at, "is not one of auth.areas", didYouMean(name, known))
			}
		}
	}
	for n, i := range v.Auth.Issuers {
		key := element("auth.issuers", n)
		check(child(key, "allow"), i.Allow)
		check(child(key, "grant"), i.Grant)
		for _, name := range slices.Sorted(maps.Keys(i.Roles)) {
			limits := i.Roles[name]
			check(child(child(key, "roles"), name), &limits)
		}
	}
}

// apiKeys checks the file of the keys, which need not be there yet.
func (v *validator) apiKeys() {
	if file := v.Auth.APIKeys.File; file != "" {
		if _, err := auth.ReadAPIKeys(file, v.Auth.Areas.options()); err != nil {
			v.fault("auth.api_keys.file", err.Error(), "tilegate key create and tilegate key revoke write it")
		}
	}
}

// someAccess refuses a configuration that nobody could ever use.
func (v *validator) someAccess() {
	a := &v.Auth
	if len(a.Issuers) > 0 || len(a.SigningKeys) > 0 || a.APIKeys.File != "" {
		return
	}
	const hint = "set auth.issuers, or auth.signing_keys and mint tokens with tilegate token, or auth.api_keys.file and make keys with tilegate key create"
	for _, t := range v.Tilesets {
		if !t.Public && (!v.CDN.EdgeAuthorizes || !slices.Contains(v.CDN.Tilesets, t.ID)) {
			v.fault("auth", "has no way to authenticate, but tilesets that are not public", hint)
			return
		}
	}
	if len(v.Files) > 0 {
		v.fault("auth", "has no way to authenticate, but files are never public", hint)
	}
}

// box checks that the numbers of a box are on the globe, and reports whether they are.
func (v *validator) box(key string, b tile.Box) bool {
	index, problem := b.OutOfRange()
	if problem != "" {
		v.fault(element(key, index), problem, "write [west, south, east, north]")
	}
	return problem == ""
}
