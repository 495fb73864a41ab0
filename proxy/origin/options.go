package origin

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"
)

// Options of an AWS. A field that is zero has the default that its comment states.
type Options struct {
	Store          // the default one
	Stores []Store // the others

	FirstByte time.Duration // longest wait for S3's headers, and for a whole error document; default 30 s
	Progress  time.Duration // longest wait for the next byte of a body; default 10 s

	PresignExpires time.Duration // life of a presigned URL; default 15 min
	PresignWindow  time.Duration // how long a presigned URL stays the same; default 5 min

	Sources []Source
	Logger  *slog.Logger // default: nothing is logged
	Observe Observer

	// Dial opens connections to S3 and STS. Default: the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Source says where the bytes of one tileset, file or bundle are.
type Source struct {
	ID     string                // of the tileset, "file:" and the file's, or "bundle:" and the bundle's; logs, metrics and errors name the source by it
	Store  string                // the name of its store; "" is the default one
	Region string                // of the bucket, where it is not the store's
	Bucket string                // its name, or the ARN or alias of an access point
	Prefix string                // of every key: the part before the first placeholder; the whole key of a file or an archive; a bundle's ends in /
	Key    func(tile.Key) string // the key of a tile's object
	Canary tile.Key              // a tile that likely exists: one at minzoom; bundles have none
	// Archive says that all tiles are parts of one object: Key returns Prefix whatever it is asked for, and FetchPart reads.
	Archive bool
	// Check uses these two. Both may be nil, and are for files, archives and bundles.
	Match      func(key string) (tile.Key, bool) // the tile of a key; false for a key that Key never returns
	ZoomFolder func(z uint8) string              // the prefix of a zoom's keys where that is a folder, else ""

	MissingOn403 MissingOn403
	Role         Role // zero: the base credentials

	// Vend allows AWS.Vend to hand out credentials for this source. It needs Role, Literals and Overlaps.
	Vend     bool
	Literals []string // the literal parts of every key: before, between and behind the placeholders
	Overlaps []string // IDs of the other sources that have a key which Literals with * between them matches
}

// isOneObject reports whether there is one object, of the key Prefix: a file or an archive.
func (src *Source) isOneObject() bool { return src.Archive || strings.HasPrefix(src.ID, "file:") }

// isBundle reports whether any key under the prefix may be an object, and none is known to be.
func (src *Source) isBundle() bool { return strings.HasPrefix(src.ID, tile.BundlePrefix) }

// MissingOn403 says what S3's 403 AccessDenied for a tile means. Without s3:ListBucket, S3 gives this
// answer for a key that does not exist.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
type MissingOn403 uint8

// The meanings of a 403.
const (
	Auto   MissingOn403 = iota // two probes tell whether the tile is missing or access is denied
	Always                     // the tile is missing
	Never                      // access is denied
)

// Role is assumed with the base credentials, or with a web identity token.
type Role struct {
	ARN                  string            // empty: no role; the other fields are ignored
	SessionName          string            // default tilegate
	ExternalID           string            // sent unless empty
	Duration             time.Duration     // 15 min to 12 h, default 1 h; AWS allows 1 h where the base credentials are a role's
	Tags                 map[string]string // session tags
	ScopeDown            bool              // sends a session policy that allows what the role's sources need, and nothing else
	WebIdentityTokenFile string            // calls AssumeRoleWithWebIdentity; the file is read at each call
}

func (r Role) isZero() bool { return r.ARN == "" }

// identity is equal for sources that share their credentials: those of one store with equal roles.
func (src *Source) identity() string { return fmt.Sprintf("%q %s", src.Store, src.Role.id()) }

// id is equal for equal roles.
func (r Role) id() string {
	var tags strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		fmt.Fprintf(&tags, "%q=%q,", k, r.Tags[k])
	}
	return fmt.Sprintf("%q %q %q %s %s %t %q", r.ARN, r.SessionName, r.ExternalID, r.Duration, tags.String(), r.ScopeDown, r.WebIdentityTokenFile)
}

// Observer is called for metrics. Every field may be nil. The functions are called from many goroutines
// and must not block. Their strings come from bounded sets: IDs of sources, names of credentials, and the
// outcomes ok, not_modified, missing, changed, denied, bad_answer, unreachable, slow_down, no_credentials,
// timeout and cancelled.
type Observer struct {
	Request func(source, outcome string, took time.Duration) // after each request for a tile, up to S3's headers; probes are not counted
	Body    func(source, outcome string)                     // after a body that failed, or that cannot be served
	Retry   func(source string)                              // before a request is sent again
	Refresh func(credentials string, ok bool)                // after each call for credentials
}

func withDefaults(opt Options) Options {
	opt.FirstByte = cmp.Or(opt.FirstByte, 30*time.Second)
	opt.Progress = cmp.Or(opt.Progress, 10*time.Second)
	opt.PresignExpires = cmp.Or(opt.PresignExpires, 15*time.Minute)
	opt.PresignWindow = cmp.Or(opt.PresignWindow, 5*time.Minute)
	opt.Sources, opt.Stores = slices.Clone(opt.Sources), slices.Clone(opt.Stores)
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	if opt.Observe.Request == nil {
		opt.Observe.Request = func(string, string, time.Duration) {}
	}
	if opt.Observe.Body == nil {
		opt.Observe.Body = func(string, string) {}
	}
	if opt.Observe.Retry == nil {
		opt.Observe.Retry = func(string) {}
	}
	if opt.Observe.Refresh == nil {
		opt.Observe.Refresh = func(string, bool) {}
	}
	return opt
}
