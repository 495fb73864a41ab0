package proxy

import (
	"encoding/json"
	"math"
	"net/http"
	"time"

	"tilegate/auth"
	"tilegate/internal/tile"
)

// tokenRequest asks for a path token. An absent member leaves the caller's own grant as it is.
type tokenRequest struct {
	Tilesets []string  `json:"tilesets"`
	Zoom     *string   `json:"zoom"`
	BBox     []float64 `json:"bbox"`
	TTL      *string   `json:"ttl"`
	Area     areaNames `json:"area"`
}

// areaNames is the name of an area, or an array of several.
type areaNames []string

// UnmarshalJSON reads either.
func (a *areaNames) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		*a = areaNames{""}
		return json.Unmarshal(data, &(*a)[0])
	}
	var names []string
	err := json.Unmarshal(data, &names)
	*a = names
	return err
}

// request checks what was asked for.
func (t *tokenRequest) request() (auth.PathRequest, error) {
	want := auth.PathRequest{Limits: auth.Limits{Tilesets: t.Tilesets}}
	if t.Zoom != nil {
		zoom, err := tile.ParseZoomRange(*t.Zoom)
		if err != nil {
			return want, refuse(http.StatusBadRequest, `"zoom" is a range such as "0-14".`)
		}
		want.Zoom = &zoom
	}
	if t.BBox != nil {
		if len(t.BBox) != 4 {
			return want, refuse(http.StatusBadRequest, `"bbox" is [west, south, east, north].`)
		}
		want.BBox = &tile.Box{West: t.BBox[0], South: t.BBox[1], East: t.BBox[2], North: t.BBox[3]}
	}
	if t.TTL != nil {
		ttl, err := time.ParseDuration(*t.TTL)
		if err != nil || ttl < time.Second {
			return want, refuse(http.StatusBadRequest, `"ttl" is a duration such as "1h", of a second at least.`)
		}
		want.TTL = ttl
	}
	if err := want.Validate(); err != nil {
		return want, refuse(http.StatusBadRequest, "The request is not valid: "+err.Error()+".")
	}
	return want, nil
}

// tokenAnswer carries the token and, for each tileset that it opens, a URL template to use it with.
type tokenAnswer struct {
	Token     string            `json:"token"`
	ExpiresAt time.Time         `json:"expires_at"`
	Tiles     map[string]string `json:"tiles"`
}

// mintPathToken gives the caller a token to put in URLs, for clients that can send neither headers nor
// cookies. It is never wider, and never lives longer, than the caller's own grant. Without a body it is for all that the
// caller may see, for as long as the caller may.
func (p *Proxy) mintPathToken(x *exchange, r *http.Request) error {
	if err := p.fromOwnPages(r); err != nil {
		return err
	}
	grant, err := p.caller(x, r, "")
	if err != nil {
		return err
	}
	base, err := p.base(r)
	if err != nil {
		return err
	}
	var asked tokenRequest
	given, err := readOptionalJSON(x.ResponseWriter, r, &asked)
	if err != nil {
		return err
	}
	want, err := asked.request()
	if err != nil {
		return err
	}
	if !given {
		want.TTL = math.MaxInt64 // the caller's own expiry bounds it
	}
	if asked.Area != nil {
		if want.Areas, err = p.opt.Auth.AreasNamed(asked.Area); err != nil {
			return err
		}
	}
	token, minted, err := p.opt.Auth.NewPathToken(grant, want)
	if err != nil {
		return err
	}
	answer := tokenAnswer{Token: token, ExpiresAt: seconds(minted.Expires), Tiles: map[string]string{}}
	for _, ts := range p.catalogue {
		ts = ts.known() // without waiting for an archive
		if _, _, some := ts.visible(minted); some {
			answer.Tiles[ts.ID] = ts.template(base, token, "")
		}
	}
	return writeJSON(x, r, http.StatusOK, answer)
}
