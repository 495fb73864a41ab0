package configs

import (
	"cmp"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tilegate/internal/tile"
)

// Config is the whole configuration, as Load returns it: every default is filled in, every path is
// usable from the working directory, and no rule of docs/configuration.md is broken.
//
// The tags of a field are its key (yaml), its default as the file would write it (default), and the bounds
// of a duration (min, max).
type Config struct {
	Server   Server       `yaml:"server"`
	Logging  Logging      `yaml:"logging"`
	AWS      AWS          `yaml:"aws"`
	Stores   []Store      `yaml:"stores"` // a mapping by id in the file; in the file's order
	Cache    Cache        `yaml:"cache"`
	Auth     Auth         `yaml:"auth"`
	CDN      CDN          `yaml:"cdn"`
	Tilesets []Tileset    `yaml:"tilesets"` // a mapping by id in the file; in the file's order
	Files    []File       `yaml:"files"`    // likewise
	Bundles  []Bundle     `yaml:"bundles"`  // likewise
	Presign  Presign      `yaml:"presign"`
	Shared   Shared       `yaml:"shared"`
	Limits   CallerLimits `yaml:"limits"`

	// Notes are what an operator should know although nothing is wrong.
	Notes []Note `yaml:"-"`

	report *report `yaml:"-"` // where the keys stand in the file
}

// Fault returns a fault with the position of its key in the file, or of what the key is missing from. It
// is for rules that look at more than the file.
func (c *Config) Fault(key, problem, hint string) Fault { return c.report.locate(key, problem, hint) }

// Server says where tilegate listens, and how.
type Server struct {
	Listen          string         `yaml:"listen" default:":8080"`
	AdminListen     string         `yaml:"admin_listen" default:"127.0.0.1:9090"` // "": none
	AdminToken      Secret         `yaml:"admin_token"`
	PublicURL       string         `yaml:"public_url"` // without a trailing slash; "" for the request's own
	TrustedProxies  []netip.Prefix `yaml:"trusted_proxies"`
	TLS             TLS            `yaml:"tls"`
	CORS            CORS           `yaml:"cors"`
	DrainDelay      time.Duration  `yaml:"drain_delay"`
	ShutdownTimeout time.Duration  `yaml:"shutdown_timeout" default:"20s"`
	ServerTiming    bool           `yaml:"server_timing"`
	Limits          ServerLimits   `yaml:"limits"`
}

// TLS names the server's certificate and its key: both files, or neither.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Enabled reports whether the public listener speaks TLS.
func (t TLS) Enabled() bool { return t.CertFile != "" }

// CORS says which other sites' scripts may read the answers.
type CORS struct {
	Origins []string      `yaml:"origins"` // exact, or patterns; see package weborigin
	Headers []string      `yaml:"headers"` // that pages may send, besides those that tilegate understands
	MaxAge  time.Duration `yaml:"max_age" default:"2h"`
}

// ServerLimits bounds what one client of the public listener may use.
type ServerLimits struct {
	HeaderBytes Size          `yaml:"header_bytes" default:"16KiB"`
	ReadHeader  time.Duration `yaml:"read_header" default:"5s" min:"1ms"`
	Idle        time.Duration `yaml:"idle" default:"2m" min:"1ms"`
	WriteStall  time.Duration `yaml:"write_stall" default:"30s" min:"1ms"`

	Streams           int `yaml:"streams" default:"128"`             // at once on one HTTP/2 connection
	Requests          int `yaml:"requests" default:"16384"`          // in progress at once; 0: no limit, as for those below
	ClientRequests    int `yaml:"client_requests" default:"4096"`    // the same of one client address
	ClientConnections int `yaml:"client_connections" default:"4096"` // of one client address
}

// Logging says what is written to standard error.
type Logging struct {
	Format string     `yaml:"format" default:"json"` // json or text
	Level  slog.Level `yaml:"level" default:"info"`
	Access bool       `yaml:"access" default:"true"`
	Probes bool       `yaml:"probes"` // lines for /health and /ready, too
}

// AWS is the default store, and what all stores share.
type AWS struct {
	Store    `yaml:",inline"`
	Timeouts Timeouts `yaml:"timeouts"`
}

// Store says how to reach S3 and STS, or a service that speaks their protocols, and as whom.
type Store struct {
	ID           string      `yaml:"-"`      // "" of the default store
	Region       string      `yaml:"region"` // "": AWS_REGION and the shared files decide
	Endpoint     string      `yaml:"endpoint"`
	PathStyle    bool        `yaml:"path_style"`
	STSEndpoint  string      `yaml:"sts_endpoint"`
	Anonymous    bool        `yaml:"anonymous"`
	RequestPayer bool        `yaml:"request_payer"`
	Credentials  Credentials `yaml:"credentials"`
	Role         Role        `yaml:"role"`
}

// Credentials are those that need no role: a profile's of the shared files, or an access key. Without either, the
// default chain has them.
type Credentials struct {
	Profile         string `yaml:"profile"`
	AccessKeyID     Secret `yaml:"access_key_id"`
	SecretAccessKey Secret `yaml:"secret_access_key"`
	SessionToken    Secret `yaml:"session_token"`
}

// Role is an IAM role to assume. Without an ARN the credentials of the default chain are used as they are.
type Role struct {
	ARN                  string            `yaml:"arn"`
	SessionName          string            `yaml:"session_name" default:"tilegate"`
	ExternalID           string            `yaml:"external_id"`
	Duration             time.Duration     `yaml:"duration" default:"1h"`
	Tags                 map[string]string `yaml:"tags"`
	ScopeDown            bool              `yaml:"scope_down" default:"true"`
	WebIdentityTokenFile string            `yaml:"web_identity_token_file"`
}

// Timeouts bounds how long S3 and STS may be silent.
type Timeouts struct {
	FirstByte time.Duration `yaml:"first_byte" default:"30s" min:"1ms"` // until the answer's headers
	Progress  time.Duration `yaml:"progress" default:"10s" min:"1ms"`   // without a byte in the body
}

// Cache bounds the tile cache, and sets the freshness of tilesets that set none of their own.
type Cache struct {
	Memory    Size `yaml:"memory" default:"512MiB"`
	MaxObject Size `yaml:"max_object" default:"8MiB"`
	Freshness `yaml:",inline"`
}

// Freshness says how long an answer of S3 is used.
type Freshness struct {
	Fresh      time.Duration `yaml:"fresh" default:"5m"`
	Stale      time.Duration `yaml:"stale" default:"24h"`
	MissingFor time.Duration `yaml:"missing_for" default:"30s"`
}

// Auth says whose tokens are accepted, and what tilegate's own tokens look like.
type Auth struct {
	Claims            Claims        `yaml:"claims"`
	Issuers           []Issuer      `yaml:"issuers"`
	Areas             Areas         `yaml:"areas"`
	InsecureJWKSHosts []string      `yaml:"insecure_jwks_hosts"` // may be asked for keys over plain http
	APIKeys           APIKeys       `yaml:"api_keys"`
	Login             Login         `yaml:"login"`
	Leeway            time.Duration `yaml:"leeway" default:"30s"`
	MaxLifetime       time.Duration `yaml:"max_lifetime" default:"24h"` // 0: unlimited
	SigningKeys       []SigningKey  `yaml:"signing_keys"`               // the first signs, all verify
	Session           Session       `yaml:"session"`
	TokenWindow       time.Duration `yaml:"token_window" default:"15m"`
	QueryParameter    string        `yaml:"query_parameter"` // "": no parameter may hold a token
	VerifyHeader      string        `yaml:"verify_header"`   // a header's name, none or ""
	VerifyPrefix      string        `yaml:"verify_prefix"`   // of the URIs in it, without a trailing slash
	// VerifyPreflight: decisions allow CORS preflights.
	VerifyPreflight bool `yaml:"verify_preflight"`
}

// Issuer is one whose tokens are accepted. Its keys are the set at JWKSURL, or Key, or found by OIDC discovery.
type Issuer struct {
	Issuer         string            `yaml:"issuer"`
	Audience       []string          `yaml:"audience"`
	AudienceClaims []string          `yaml:"audience_claims"` // the first that the token has is compared; none: aud
	Algorithms     []string          `yaml:"algorithms"`
	JWKSURL        string            `yaml:"jwks_url"`
	JWKSRefresh    time.Duration     `yaml:"jwks_refresh" default:"10m"`
	CAFile         Document          `yaml:"ca_file"`
	Key            Secret            `yaml:"key"`          // public keys in PEM, or an HMAC secret where any of Algorithms is HS*
	TokenHeader    string            `yaml:"token_header"` // "": Authorization alone
	MaxToken       Size              `yaml:"max_token" default:"8KiB"`
	Claims         Claims            `yaml:"claims"` // the effective ones
	Roles          map[string]Limits `yaml:"roles"`
	IgnoreUnknown  *bool             `yaml:"ignore_unknown"` // nil: true with Roles
	Allow          *Limits           `yaml:"allow"`          // nil: everything
	Grant          *Limits           `yaml:"grant"`          // nil: nothing
}

// Areas are the shapes that grants can be limited to, by their names.
type Areas map[string]Area

// Area is a shape.
type Area struct {
	File Shape `yaml:"file"`
}

// Names is a list of names, which may be written as one name.
type Names []string

// APIKeys says where the API keys are.
type APIKeys struct {
	File string `yaml:"file"` // "": none
}

// Login is the identity provider at which browsers sign in; it is one of the issuers.
type Login struct {
	Issuer       string   `yaml:"issuer"` // "": none
	ClientID     string   `yaml:"client_id"`
	ClientSecret Secret   `yaml:"client_secret"`     // none: a public client
	Scopes       []string `yaml:"scopes"`            // [openid] unless given
	After        string   `yaml:"after" default:"/"` // a path
}

// Limits names tilesets, zooms and an area.
type Limits struct {
	Tilesets []string        `yaml:"tilesets"` // ids or globs, "file:" before those of files; nil when not given
	Zoom     *tile.ZoomRange `yaml:"zoom"`     // nil: all
	BBox     *tile.Box       `yaml:"bbox"`     // nil: the world; west > east crosses the antimeridian
	Area     Names           `yaml:"area"`     // of Auth.Areas; nil: the world
}

// Claims names the claims of a token that say what it grants. A name that begins with a slash is a JSON pointer.
type Claims struct {
	Tilesets    string `yaml:"tilesets" default:"tilesets"`
	ScopePrefix string `yaml:"scope_prefix" default:"tiles:"`
	Zoom        string `yaml:"zoom" default:"zoom"`
	BBox        string `yaml:"bbox" default:"bbox"`
	Area        string `yaml:"area" default:"area"`
}

// Session is the cookie that POST /session sets.
type Session struct {
	TTL         time.Duration `yaml:"ttl" default:"15m"`
	SameSite    string        `yaml:"same_site" default:"lax"` // lax, strict or none
	Partitioned bool          `yaml:"partitioned"`
	// CookieSuffix tells the cookies of several instances on one host apart.
	CookieSuffix string `yaml:"cookie_suffix"`
}

// CDN says what a shared cache in front of tilegate may keep, and how it proves itself.
type CDN struct {
	OriginSecrets  []Secret      `yaml:"origin_secrets"`
	EdgeAuthorizes bool          `yaml:"edge_authorizes"`
	Tilesets       []string      `yaml:"tilesets"`
	TTL            time.Duration `yaml:"ttl" default:"24h" min:"1s"`
	CloudFront     CloudFront    `yaml:"cloudfront"`
	Purge          CDNPurge      `yaml:"purge"`
}

// CDNPurge says at which CDNs POST /admin/purge purges as well. An endpoint that is "" is the CDN's own.
type CDNPurge struct {
	CloudFront struct {
		Distribution string `yaml:"distribution"` // its ID; "": none
		Endpoint     string `yaml:"endpoint"`
	} `yaml:"cloudfront"`
	Fastly struct {
		Service  string `yaml:"service"` // its ID; "": none
		Token    Secret `yaml:"token"`
		Endpoint string `yaml:"endpoint"`
	} `yaml:"fastly"`
	Cloudflare struct {
		Zone     string `yaml:"zone"` // its ID; "": none
		Token    Secret `yaml:"token"`
		Endpoint string `yaml:"endpoint"`
	} `yaml:"cloudflare"`
}

// Enabled reports whether there is any.
func (p *CDNPurge) Enabled() bool {
	return p.CloudFront.Distribution != "" || p.Fastly.Service != "" || p.Cloudflare.Zone != ""
}

// CloudFront is the key pair that signs CloudFront's cookies. KeyPairID is "" where there is none.
type CloudFront struct {
	KeyPairID  string `yaml:"key_pair_id"`
	PrivateKey Secret `yaml:"private_key"` // PEM: RSA, or ECDSA on P-256
}

// Tileset is one private pyramid of tiles, or an archive of them.
type Tileset struct {
	ID           string        `yaml:"-"`
	Default      bool          `yaml:"default"`
	Source       Source        `yaml:"source"`
	Format       string        `yaml:"format"` // png, jpg, webp, avif, mvt, mlt, json or auto; "" for the archive's own
	Version      string        `yaml:"version"`
	MinZoom      uint8         `yaml:"minzoom"`
	MaxZoom      uint8         `yaml:"maxzoom"`
	Bounds       tile.Box      `yaml:"bounds"`
	Name         string        `yaml:"name"`
	Attribution  string        `yaml:"attribution"`
	VectorLayers []VectorLayer `yaml:"vector_layers"`
	Missing      string        `yaml:"missing" default:"404"`         // 404, 204 or transparent
	MissingOn403 string        `yaml:"missing_on_403" default:"auto"` // auto, true or false
	Browser      string        `yaml:"browser" default:"balanced"`    // strict, balanced, immutable or a Cache-Control value
	Cache        Freshness     `yaml:"cache"`                         // the effective one
	Store        string        `yaml:"store"`                         // "": the default one
	Region       string        `yaml:"region"`                        // "": the store's
	Role         Role          `yaml:"role"`                          // the effective one
	Vend         bool          `yaml:"vend"`
	Public       bool          `yaml:"public"`
	Encoding     string        `yaml:"encoding"`  // terrarium or mapbox, of elevations, or mlt; "": none that clients must know
	Sparse       bool          `yaml:"sparse"`    // where a tile is missing, clients may show what is above it
	Raw          bool          `yaml:"raw"`       // an archive itself is served, too, by ranges
	TileSize     int           `yaml:"tile_size"` // TileJSON's: 256 or 512 pixels a side at scale 1; 0: not stated
	Given        Given         `yaml:"-"`
}

// Given says which of a tileset's keys have a value in the file. An archive has its own for those that have none.
type Given struct{ Format, MinZoom, MaxZoom, Bounds, Name, Attribution, VectorLayers bool }

// VectorLayer describes one layer of vector tiles; it marshals as TileJSON 3.0 section 3.3 has it.
type VectorLayer struct {
	ID          string            `yaml:"id" json:"id"`
	Fields      map[string]string `yaml:"fields" json:"fields"` // never nil
	Description string            `yaml:"description" json:"description,omitempty"`
	MinZoom     *uint8            `yaml:"minzoom" json:"minzoom,omitempty"`
	MaxZoom     *uint8            `yaml:"maxzoom" json:"maxzoom,omitempty"`
}

// File is a single private object, handed out as a presigned URL.
type File struct {
	ID     string `yaml:"-"`
	Source Source `yaml:"source"` // without placeholders
	Store  string `yaml:"store"`  // "": the default one
	Region string `yaml:"region"` // "": the store's
	Role   Role   `yaml:"role"`   // the effective one
}

// Bundle is all objects under a prefix, served by their names.
type Bundle struct {
	ID           string            `yaml:"-"`
	Source       Source            `yaml:"source"`  // a prefix, which ends in /
	Version      string            `yaml:"version"` // part of the cache's keys
	With         []string          `yaml:"with"`    // tilesets: who may see one of them may see the bundle
	Spatial      bool              `yaml:"spatial" default:"true"`
	Active       bool              `yaml:"active"` // html, svg and scripts are served
	Public       bool              `yaml:"public"`
	Styles       map[string]string `yaml:"styles"`                        // paths of styles, by their names
	MissingOn403 string            `yaml:"missing_on_403" default:"auto"` // auto, true or false
	Browser      string            `yaml:"browser" default:"balanced"`    // strict, balanced, immutable or a Cache-Control value
	Cache        Freshness         `yaml:"cache"`                         // the effective one
	Store        string            `yaml:"store"`                         // "": the default one
	Region       string            `yaml:"region"`                        // "": the store's
	Role         Role              `yaml:"role"`                          // the effective one
}

// Presign says how long presigned URLs live, and how long they stay the same. S3 accepts a week at most:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
type Presign struct {
	Expires time.Duration `yaml:"expires" default:"15m" max:"168h"`
	Window  time.Duration `yaml:"window" default:"5m" min:"1s"`
}

// CallerLimits bound what a caller may ask for: the subject of a credential, else a client's address.
type CallerLimits struct {
	Requests      RequestLimit  `yaml:"requests"`
	DistinctTiles DistinctTiles `yaml:"distinct_tiles"`
	OnExceeded    string        `yaml:"on_exceeded" default:"reject"` // reject, slow or log
}

// DistinctTiles is how many different tiles of a tileset a caller may be sent within a window of that length.
type DistinctTiles map[time.Duration]int

// RequestLimit bounds the requests of a caller.
type RequestLimit struct {
	Rate  Rate `yaml:"rate"` // 0: unlimited
	Burst int  `yaml:"burst" default:"500"`
}

// Shared is the Redis or Valkey through which several instances share what they know. With neither URL nor Addresses there
// is none.
type Shared struct {
	URL       string    `yaml:"url"`       // of one server: redis or rediss, host, port, number of the database
	Addresses []string  `yaml:"addresses"` // of nodes of a cluster, or of sentinels
	Cluster   bool      `yaml:"cluster"`
	Sentinel  Sentinel  `yaml:"sentinel"`
	Username  string    `yaml:"username"`
	Password  Secret    `yaml:"password"`
	TLS       SharedTLS `yaml:"tls"`
	Prefix    string    `yaml:"prefix" default:"tilegate:"` // of all keys

	Timeout   time.Duration `yaml:"timeout" default:"20ms" min:"1ms" max:"1s"` // of the look-up of a tile
	Tiles     bool          `yaml:"tiles" default:"true"`                      // a second level of tiles
	MaxObject Size          `yaml:"max_object" default:"1MiB"`                 // larger tiles are not in it
}

// Sentinel says how the sentinels are asked where the server is.
type Sentinel struct {
	Master   string `yaml:"master"` // the name under which they know it; "": there are none
	Username string `yaml:"username"`
	Password Secret `yaml:"password"`
}

// SharedTLS says how Redis is reached with TLS. A URL with rediss enables it, too.
type SharedTLS struct {
	Enabled bool     `yaml:"enabled"`
	CAFile  Document `yaml:"ca_file"` // none: the authorities of the system
}

// Enabled reports whether there is something to share through.
func (s *Shared) Enabled() bool { return s.URL != "" || len(s.Addresses) > 0 }

// Servers returns the addresses to connect to, the number of the database, and whether with TLS.
func (s *Shared) Servers() (addresses []string, db int, encrypted bool) {
	if s.URL == "" {
		return s.Addresses, 0, s.TLS.Enabled
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, 0, false // the validator has refused it
	}
	db, _ = strconv.Atoi(strings.Trim(u.Path, "/"))
	return []string{net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "6379"))}, db, s.TLS.Enabled || u.Scheme == "rediss"
}

// Store returns the store with that id, the default one for "", and nil when there is none.
func (c *Config) Store(id string) *Store {
	if id == "" {
		return &c.AWS.Store
	}
	for i := range c.Stores {
		if c.Stores[i].ID == id {
			return &c.Stores[i]
		}
	}
	return nil
}

// SecureCookie reports whether the session cookie is __Host-tilegate with Secure. Otherwise it is tilegate
// without: only if the listener is loopback and there is neither TLS nor an https public_url.
func (c *Config) SecureCookie() bool {
	return c.Server.TLS.Enabled() || strings.HasPrefix(c.Server.PublicURL, "https://") || !loopbackAddress(c.Server.Listen)
}
