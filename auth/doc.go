// Package auth decides who sends a request and what they may see. It finds the credential, verifies it,
// and returns a Grant. It also mints sessions and path tokens out of grants, and revokes them.
//
// It knows tilesets by their ids only, and HTTP by the headers, query and cookies of a request. Which
// route needs which grant, and which status an error becomes, is the caller's decision.
//
// # Where credentials are
//
// Authenticate looks in the headers that carry tokens (Authorization, and the issuers' own), X-API-Key, the
// path, the query parameter and the cookie, and the first credential that it finds decides. Each place
// accepts some kinds of credential:
//
//	Authorization: Bearer, token headers  Access: a JWT of a configured issuer, or of tilegate itself
//	Authorization: Basic, query           Access, or an API key
//	X-API-Key                             an API key
//	path                                  Path: minted by NewPathToken, or an API key
//	cookie                                Session: minted by NewSession
//
// # What is refused
//
// A JWT is checked in this order: its form, its header and that its JSON is strict (strict.go); the
// issuer and that its configuration lists the algorithm; the key (keys.go) and the signature; then the
// claims (claims.go, roles.go, pointer.go). So a token that is malformed, has a crit or names an algorithm
// that is not listed costs no signature. A key that a token brings along is ignored. The client is told about
// the claims only after the signature has been verified; see InvalidError. Tokens that have been verified are
// cached (verified.go).
//
// # Keys
//
// An issuer has configured keys, or a key set that Run fetches and keeps fresh (keysource.go, jwks.go). It may
// have an HMAC secret besides: each has algorithms of its own, and they never mix. Each signing key of
// tilegate yields three keys by HKDF, for access, session and path tokens, so that one kind never passes for
// another (compact.go).
//
// API keys are in a file, by their hashes, which Run reads again when it changes (apikeys.go). They may be
// limited to the pages of some origins (origins.go), and nothing is minted from them.
//
// # Grants
//
// A Grant comes from the claims of a token, from the issuer's default, or from an API key, and never exceeds
// what the issuer may allow. It has a part for each role whose zooms or area differ (grant.go). What is minted
// from a grant is never wider and never lives longer than it, and carries its subject and the ids of its
// parents: revoking any of them revokes it (revocation.go).
//
//	a, err := auth.New(auth.Options{Issuers: []auth.Issuer{{
//		Issuer: "https://id.example.com/", Audience: []string{"tiles"}, Algorithms: []string{"RS256"},
//	}}})
//	go a.Run(ctx)
//	grant, err := a.Authenticate(request, "")
//	if err == nil && grant.Admits("basemap", 7, 66, 44) {
//		// serve the tile
//	}
package auth
