package auth_test

import (
	"fmt"
	"strings"
	"testing"

	"tilegate/auth"
	"tilegate/internal/tile"
)

func zooms(low, high uint8) *tile.ZoomRange { return &tile.ZoomRange{Min: low, Max: high} }

// mapRoles are those of most tests.
var mapRoles = map[string]auth.Limits{
	"map-viewer": {Tilesets: []string{"acme-*"}, Zoom: zooms(0, 12)},
	"map-admin":  {Tilesets: []string{"*"}},
	"roads":      {Tilesets: []string{"roads", "file:report"}, Zoom: zooms(4, 6), BBox: &tile.Box{West: 0, South: 0, East: 20, North: 20}},
}

// withIssuer is an Authenticator whose one issuer is changed.
func withIssuer(t testing.TB, change func(*auth.Issuer)) (*auth.Authenticator, signer) {
	t.Helper()
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	change(&o.Issuers[0])
	return newAuth(t, o), s
}

// seen writes which of some tiles a grant admits.
func seen(g *auth.Grant) string {
	var all []string
	for _, id := range []string{"acme-roads", "roads", "secret", "map-viewer"} {
		for _, z := range []uint8{0, 5, 12, 13} {
			if g.Admits(id, z, 1<<z/2, 1<<z/2-1&(1<<z-1)) {
				all = append(all, fmt.Sprintf("%s/%d", id, z))
			}
		}
	}
	if g.AdmitsFile("report") {
		all = append(all, "report")
	}
	return strings.Join(all, " ")
}

const (
	viewer = "acme-roads/0 acme-roads/5 acme-roads/12"
	admin  = "acme-roads/0 acme-roads/5 acme-roads/12 acme-roads/13 roads/0 roads/5 roads/12 roads/13 secret/0 secret/5 secret/12 secret/13 map-viewer/0 map-viewer/5 map-viewer/12 map-viewer/13"
)

func TestRolesGrantWhatIsConfigured(t *testing.T) {
	for _, tt := range []struct {
		name, claim string
		token       map[string]any // instead of the tilesets claim
		want        string
	}{
		{"an array (Entra ID)", "roles", map[string]any{"roles": []string{"map-viewer"}}, viewer},
		{"within an object (Keycloak)", "/realm_access/roles", map[string]any{"realm_access": map[string]any{"roles": []string{"offline_access", "map-viewer"}}}, viewer},
		{"a name that is a URL (Auth0)", "https://acme.example/roles", map[string]any{"https://acme.example/roles": []string{"map-viewer"}}, viewer},
		{"a name with slashes, by a pointer", "/https:~1~1acme.example~1roles", map[string]any{"https://acme.example/roles": []string{"map-viewer"}}, viewer},
		{"a name with a tilde, by a pointer", "/~01", map[string]any{"~1": "map-viewer"}, viewer},
		{"an empty name, by a pointer", "/", map[string]any{"": "map-viewer"}, viewer},
		{"an element of an array", "/groups/1", map[string]any{"groups": []any{"map-admin", "map-viewer"}}, viewer},
		{"text with spaces", "roles", map[string]any{"roles": "other  map-viewer"}, viewer},
		{"text with commas", "roles", map[string]any{"roles": "other,map-viewer, x"}, viewer},
		{"an object's members (Zitadel)", "urn:zitadel:iam:org:project:roles", map[string]any{"urn:zitadel:iam:org:project:roles": map[string]any{"map-viewer": map[string]any{"1": "acme.example"}}}, viewer},
		{"an object of booleans", "roles", map[string]any{"roles": map[string]any{"map-viewer": true, "map-admin": false}}, viewer},
		{"scopes", "scope", map[string]any{"scope": "openid map-viewer"}, viewer},
		{"scp (Okta)", "scp", map[string]any{"scp": []string{"openid", "map-viewer"}}, viewer},
		{"two roles: the zooms of one are not the other's", "roles", map[string]any{"roles": []string{"map-viewer", "roads"}}, viewer + " roads/5 report"},
		{"one role within another", "roles", map[string]any{"roles": []string{"map-viewer", "map-admin", "map-viewer"}}, admin},
		{"a role and a tileset in a scope", "roles", map[string]any{"roles": "map-viewer", "scope": "tiles:secret"}, viewer + " secret/0 secret/5 secret/12 secret/13"},
		{"a role and a tileset in one claim of scopes", "scope", map[string]any{"scope": "map-viewer tiles:secret"}, viewer + " secret/0 secret/5 secret/12 secret/13"},
		{"a zoom claim narrows every role", "roles", map[string]any{"roles": "map-viewer roads", "zoom": "5-30"}, "acme-roads/5 acme-roads/12 roads/5 report"},
		{"no role", "roles", map[string]any{"roles": []string{}}, ""},
		{"no role that is known", "roles", map[string]any{"roles": "offline_access"}, ""},
		{"no claim at all: the issuer's grant", "roles", nil, "secret/0 secret/5 secret/12 secret/13"},
		{"a claim in another place: the issuer's grant", "/realm_access/roles", map[string]any{"roles": "map-viewer", "realm_access": map[string]any{}}, "secret/0 secret/5 secret/12 secret/13"},
		{"an element beyond the array's end: the issuer's grant", "/groups/2", map[string]any{"groups": []any{"a", "b"}}, "secret/0 secret/5 secret/12 secret/13"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, s := withIssuer(t, func(i *auth.Issuer) {
				i.Claims, i.Roles, i.IgnoreUnknown = &auth.ClaimNames{Tilesets: tt.claim}, mapRoles, true
				i.Default = auth.Limits{Tilesets: []string{"secret"}}
			})
			changed := claims(tt.token)
			delete(changed, "tilesets")
			g := authenticate(t, a, s.token(changed))
			if got := seen(g); got != tt.want {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
			// What is minted from it grants the same.
			session, minted := newSession(t, a, g)
			if got := seen(minted); got != tt.want {
				t.Errorf("session %s: got %s\nwant %s", session.Token, got, tt.want)
			}
			if tt.want != "" {
				if _, minted := newPath(t, a, minted, auth.PathRequest{}); seen(minted) != tt.want {
					t.Errorf("path token: got %s\nwant %s", seen(minted), tt.want)
				}
			}
		})
	}
}

// An entry that is no configured role grants nothing, whatever it would mean as a tileset.
func TestRoleNamedLikeATilesetGrantsNothing(t *testing.T) {
	a, s := withIssuer(t, func(i *auth.Issuer) {
		i.Claims, i.Roles, i.IgnoreUnknown = &auth.ClaimNames{Tilesets: "groups"}, mapRoles, true
	})
	for _, group := range []string{
		"*", "**", "secret", "acme-*", "map-*", "file:*", "file:report", "Map-Viewer", " map-viewer", "map-viewer\x00", "map-viewer,", "",
		"__proto__", "constructor", "toString", "hasOwnProperty", "valueOf",
	} {
		g := authenticate(t, a, s.token(claims(map[string]any{"groups": []string{group}})))
		if got := seen(g); got != "" || len(g.Tilesets) > 0 {
			t.Errorf("the group %q grants %q, tilesets %q", group, got, g.Tilesets)
		}
	}
}

// What is no role refuses the token where unknown entries are not to be skipped.
func TestUnknownRoleIsRefusedUnlessIgnored(t *testing.T) {
	a, s := withIssuer(t, func(i *auth.Issuer) {
		i.Claims, i.Roles = &auth.ClaimNames{Tilesets: "groups"}, mapRoles
	})
	_, err := a.Authenticate(bearer(s.token(claims(map[string]any{"groups": []string{"map-viewer", "*"}}))), "")
	wantInvalid(t, err, "entry 2 of groups is none of the roles")
	authenticate(t, a, s.token(claims(map[string]any{"groups": "map-viewer"})))
}

func TestUnknownTilesetsAreSkippedWhereIgnored(t *testing.T) {
	a, s := withIssuer(t, func(i *auth.Issuer) { i.IgnoreUnknown = true })
	g := authenticate(t, a, s.token(claims(map[string]any{"tilesets": []string{"Map Viewers", "roads", "https://x/", "../secret"}})))
	if got := fmt.Sprint(g.Tilesets); got != "[roads]" {
		t.Errorf("got %s", got)
	}
	// A scope that names a tileset is meant for us: a malformed one is never skipped.
	_, err := a.Authenticate(bearer(s.token(claims(map[string]any{"scope": "tiles:../secret"}))), "")
	wantInvalid(t, err, "entry 2 is not")
}

// A claim that is there and cannot be read refuses the token, and says what was found and what was wanted.
func TestMalformedRolesAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, claim string
		token       map[string]any
		want        string
	}{
		{"null", "roles", map[string]any{"roles": null}, "the tilesets claim (roles) must be an array of roles, text with spaces or commas between them, or an object, not null"},
		{"a number", "roles", map[string]any{"roles": 7}, "not a number"},
		{"true", "roles", map[string]any{"roles": true}, "not a boolean"},
		{"a null among them", "roles", map[string]any{"roles": []any{"map-admin", null}}, "entry 2 of roles must be a string, not null"},
		{"an object among them", "roles", map[string]any{"roles": []any{map[string]any{"name": "map-admin"}}}, "entry 1 of roles must be a string, not an object"},
		{"an object of strings", "roles", map[string]any{"roles": map[string]any{"map-admin": "no"}}, "whose members must be objects or booleans, and one is a string"},
		{"an object of numbers", "roles", map[string]any{"roles": map[string]any{"map-admin": 0}}, "one is a number"},
		{"a pointer through a string", "/realm_access/roles", map[string]any{"realm_access": "map-admin"}, "realm_access must be an object, not a string"},
		{"a pointer through null", "/realm_access/roles", map[string]any{"realm_access": null}, "realm_access must be an object, not null"},
		{"a pointer through a string, deep", "/a/b/c", map[string]any{"a": map[string]any{"b": "map-admin"}}, "/a/b must be an object, not a string"},
		{"a pointer into an array by a name", "/groups/map-admin", map[string]any{"groups": []any{"map-admin"}}, "groups is an array, and map-admin is no index of one"},
		{"a pointer into an array by length", "/groups/length", map[string]any{"groups": []any{"map-admin"}}, "length is no index"},
		{"a pointer into an array by a sign", "/groups/-1", map[string]any{"groups": []any{"map-admin"}}, "-1 is no index"},
		{"a pointer into an array by zeros", "/groups/00", map[string]any{"groups": []any{"map-admin"}}, "00 is no index"},
		{"a pointer into an array by an exponent", "/groups/0e0", map[string]any{"groups": []any{"map-admin"}}, "0e0 is no index"},
		{"a pointer behind an array's end", "/groups/-", map[string]any{"groups": []any{"map-admin"}}, "- is no index"},
		{"a pointer beyond all arrays", "/groups/18446744073709551616", map[string]any{"groups": []any{"map-admin"}}, "is no index"},
		{"a pointer to a number", "/groups/0", map[string]any{"groups": []any{1}}, "not a number"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, s := withIssuer(t, func(i *auth.Issuer) {
				i.Claims, i.Roles, i.IgnoreUnknown = &auth.ClaimNames{Tilesets: tt.claim}, mapRoles, true
				i.Default = auth.Limits{Tilesets: []string{"secret"}}
			})
			_, err := a.Authenticate(bearer(s.token(claims(tt.token))), "")
			wantInvalid(t, err, tt.want)
		})
	}
}

// Members that every object has in other languages are none here, neither as a role nor on a pointer's way.
func TestPrototypeNamesAreNoClaims(t *testing.T) {
	for _, claim := range []string{"__proto__", "constructor", "/constructor/name", "/__proto__/roles", "toString", "/realm_access/__proto__", "/groups/0/length"} {
		a, s := withIssuer(t, func(i *auth.Issuer) {
			i.Claims, i.IgnoreUnknown = &auth.ClaimNames{Tilesets: claim}, true
			i.Roles = map[string]auth.Limits{"Object": {Tilesets: []string{"*"}}, "__proto__": {Tilesets: []string{"*"}}, "1": {Tilesets: []string{"*"}}}
		})
		g, err := a.Authenticate(bearer(s.token(claims(map[string]any{"realm_access": map[string]any{}, "groups": []any{map[string]any{}}}))), "")
		if err != nil || seen(g) != "" {
			t.Errorf("%s: got %v, %v", claim, g, err)
		}
	}
}

// A claim of many roles costs no more than its token, and those that are unknown leave nothing behind.
func TestHugeRolesAreBounded(t *testing.T) {
	a, s := withIssuer(t, func(i *auth.Issuer) {
		i.Claims, i.Roles, i.IgnoreUnknown, i.MaxToken = &auth.ClaimNames{Tilesets: "groups"}, mapRoles, true, 32<<10
	})
	many, object := make([]string, 900), map[string]any{}
	for i := range many {
		many[i] = fmt.Sprintf("group-%d", i)
		object[many[i]] = map[string]any{}
	}
	many[899] = "map-viewer"
	object["map-viewer"] = true
	for _, groups := range []any{many, object, strings.Join(many, " "), strings.Join(many, ",")} {
		g := authenticate(t, a, s.token(claims(map[string]any{"groups": groups})))
		if seen(g) != viewer || len(g.Tilesets) != 1 {
			t.Errorf("got %s, %q", seen(g), g.Tilesets)
		}
	}
	_, err := a.Authenticate(bearer(s.token(claims(map[string]any{"groups": make([]map[string]any, 2000)}))), "")
	wantInvalid(t, err, "payload")
	_, err = a.Authenticate(bearer(s.token(claims(map[string]any{"groups": strings.Repeat("a ", 20<<10)}))), "")
	wantInvalid(t, err, "longer than 32 KiB")
}

// Roles that differ in many ways make a grant that is too large for a cookie, never a wider one.
func TestRolesTooManyForACookie(t *testing.T) {
	roles, names := map[string]auth.Limits{}, []string{}
	for i := range 255 {
		name := fmt.Sprintf("role-%d", i)
		names = append(names, name)
		roles[name] = auth.Limits{Tilesets: []string{fmt.Sprintf("tileset-%d", i)}, BBox: &tile.Box{West: 0, South: 0, East: 1 + float64(i)/2, North: 1}}
	}
	a, s := withIssuer(t, func(i *auth.Issuer) { i.Roles, i.MaxToken = roles, 16<<10 })
	g := authenticate(t, a, s.token(claims(map[string]any{"tilesets": names})))
	if !g.Admits("tileset-254", 3, 6, 3) || g.Admits("tileset-0", 3, 6, 3) {
		t.Error("the box of one role is not that of its tilesets")
	}
	if _, err := a.NewSession(g); err == nil {
		t.Error("a session of 255 roles fits into a cookie")
	}
	token, minted := newPath(t, a, g, auth.PathRequest{Limits: auth.Limits{Tilesets: []string{"tileset-7"}}})
	if len(token) > 500 || !minted.AdmitsTileset("tileset-7") || minted.AdmitsTileset("tileset-8") {
		t.Errorf("got a token of %d bytes for %q", len(token), minted.Tilesets)
	}
}

// A path token that is asked for within one role is not widened by another one.
func TestPathTokenOfRolesIsNeverWider(t *testing.T) {
	a, s := withIssuer(t, func(i *auth.Issuer) {
		i.Roles = map[string]auth.Limits{
			"low":  {Tilesets: []string{"acme-*"}, Zoom: zooms(0, 5)},
			"high": {Tilesets: []string{"acme-roads"}, Zoom: zooms(12, 13)},
			"ab":   {Tilesets: []string{"*-roads"}, Zoom: zooms(7, 7)},
		}
	})
	g := authenticate(t, a, s.token(claims(map[string]any{"tilesets": "low high ab"})))
	_, minted := newPath(t, a, g, auth.PathRequest{Limits: auth.Limits{Tilesets: []string{"acme-*"}}})
	for z := range uint8(15) {
		for _, id := range []string{"acme-roads", "acme-x", "x-roads", "other"} {
			parent, child := g.Admits(id, z, 0, 0), minted.Admits(id, z, 0, 0)
			if child != (parent && strings.HasPrefix(id, "acme-")) {
				t.Errorf("%s/%d: the parent admits it: %t, the path token: %t", id, z, parent, child)
			}
		}
	}
	if _, _, err := a.NewPathToken(g, auth.PathRequest{Limits: auth.Limits{Tilesets: []string{"x-*"}}}); err == nil {
		t.Error("a path token for more than any role covers")
	}
	if zoom, _, ok := minted.Clip("acme-x", tile.AllZooms, tile.World); !ok || zoom != (tile.ZoomRange{Max: 5}) {
		t.Errorf("the TileJSON of acme-x says %v, %t", zoom, ok)
	}
	if zoom, _, ok := minted.Clip("acme-roads", tile.AllZooms, tile.World); !ok || zoom != (tile.ZoomRange{Max: 13}) {
		t.Errorf("the TileJSON of acme-roads says %v, %t", zoom, ok)
	}
}

// allow limits every role.
func TestAllowLimitsRoles(t *testing.T) {
	a, s := withIssuer(t, func(i *auth.Issuer) {
		i.Roles, i.Allow = mapRoles, auth.Limits{Tilesets: []string{"acme-*"}, Zoom: zooms(5, 30)}
	})
	g := authenticate(t, a, s.token(claims(map[string]any{"tilesets": "map-viewer map-admin roads"})))
	if got := seen(g); got != "acme-roads/5 acme-roads/12 acme-roads/13" {
		t.Errorf("got %s", got)
	}
}
