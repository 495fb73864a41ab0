package proxy

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// CORS says which other sites' pages may read our answers (the Fetch standard, section 3.2).
type CORS struct {
	Origins []string      // exact ("https://app.example.com") or every subdomain ("https://*.example.com")
	MaxAge  time.Duration // how long browsers may remember a preflight
}

// cors holds the allowed origins and the header values that follow from them. With one exact origin every
// answer has the same fields. With several, or a wildcard, the request's origin is echoed, and every
// answer says that it varies by Origin: otherwise a copy that the browser cached for an image element
// would fail when a script reads it.
type cors struct {
	single   []string
	exact    map[string]bool
	suffixes []string // ".example.com", https alone
	maxAge   []string
	crossing bool // an allowed origin may be of another site than ours
}

var (
	varyOrigin       = []string{"Origin"}
	varyEncoding     = []string{"Accept-Encoding"}
	varyBoth         = []string{"Origin, Accept-Encoding"}
	allowCredentials = []string{"true"}
	exposedHeaders   = []string{"Cache-Status, Content-Length, Content-Range, Date, ETag, Retry-After, Server-Timing, WWW-Authenticate, X-Request-Id"}
	allowedMethods   = []string{"GET, HEAD, POST, DELETE"}
	allowedHeaders   = []string{"Authorization, Content-Type, If-Match, If-Modified-Since, If-None-Match, If-Range, If-Unmodified-Since, Range, X-Api-Key, X-Request-Id"}
	allMethods       = "GET, HEAD, POST, DELETE, OPTIONS"
)

func newCORS(o CORS, ours string) (*cors, error) {
	c := &cors{exact: map[string]bool{}, maxAge: []string{strconv.Itoa(int(o.MaxAge.Seconds()))}}
	for _, origin := range o.Origins {
		if suffix, ok := strings.CutPrefix(origin, "https://*."); ok && suffix != "" && !strings.ContainsAny(suffix, "*/") {
			c.suffixes = append(c.suffixes, "."+suffix)
			c.crossing = c.crossing || site("https://"+suffix) != site(ours)
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || origin != u.Scheme+"://"+u.Host || strings.Contains(origin, "*") {
			return nil, fmt.Errorf("CORS origin %q is neither an exact origin nor https://*.domain", origin)
		}
		c.exact[origin] = true
		c.crossing = c.crossing || site(origin) != site(ours)
	}
	if len(o.Origins) == 1 && len(c.suffixes) == 0 {
		c.single = []string{o.Origins[0]}
	}
	return c, nil
}

// site is an origin's scheme and registrable domain. Two origins that share them are same-site (the HTML
// standard, "sites"). An origin that cannot be parsed, or has no domain, is a site of its own.
func site(origin string) string {
	u, err := url.Parse(origin)
	if err != nil {
		return origin
	}
	domain, err := publicsuffix.EffectiveTLDPlusOne(u.Hostname())
	if err != nil {
		domain = u.Hostname()
	}
	return u.Scheme + "://" + domain
}

var (
	sameSite    = []string{"same-site"}
	crossOrigin = []string{"cross-origin"}
)

// resourcePolicy is the Cross-Origin-Resource-Policy of answers (the Fetch standard, section 3.7). public
// is true for those of a public tileset.
func (c *cors) resourcePolicy(public bool) []string {
	if public || c.crossing {
		return crossOrigin
	}
	return sameSite
}

func (c *cors) varies() bool { return c.single == nil && len(c.exact)+len(c.suffixes) > 0 }

func (c *cors) allows(origin string) bool {
	if c.exact[origin] {
		return true
	}
	host, ok := strings.CutPrefix(origin, "https://")
	if !ok || strings.ContainsAny(host, "/@?#") {
		return false
	}
	for _, suffix := range c.suffixes {
		if len(host) > len(suffix) && strings.HasSuffix(host, suffix) && host[0] != '.' {
			return true
		}
	}
	return false
}

// apply sets the fields that every answer carries, whatever its route and status.
func (c *cors) apply(x *exchange, r *http.Request) {
	given := r.Header["Origin"]
	switch {
	case c.single != nil:
		x.Set("Access-Control-Allow-Origin", c.single)
		x.Set("Timing-Allow-Origin", c.single)
	case c.varies():
		x.Set("Vary", varyOrigin)
		if len(given) != 1 || !c.allows(given[0]) {
			return
		}
		x.Set("Access-Control-Allow-Origin", given)
		x.Set("Timing-Allow-Origin", given)
	default:
		return
	}
	x.Set("Access-Control-Allow-Credentials", allowCredentials)
	if given != nil {
		x.Set("Access-Control-Expose-Headers", exposedHeaders)
	}
}

// preflight answers OPTIONS on every path. It needs no credential: the answer holds no secret.
func (c *cors) preflight(x *exchange, r *http.Request) error {
	x.Set("Cache-Control", privateNoStore)
	x.Set("Allow", []string{allMethods})
	if _, asks := r.Header["Access-Control-Request-Method"]; asks && x.Get("Access-Control-Allow-Origin") != nil {
		x.Set("Access-Control-Allow-Methods", allowedMethods)
		x.Set("Access-Control-Allow-Headers", allowedHeaders)
		x.Set("Access-Control-Max-Age", c.maxAge)
	}
	x.WriteHeader(http.StatusNoContent)
	return nil
}

// varyByEncoding adds Accept-Encoding to the Vary that cors.apply has set.
func varyByEncoding(x *exchange) {
	if x.Get("Vary") != nil {
		x.Set("Vary", varyBoth)
	} else {
		x.Set("Vary", varyEncoding)
	}
}
