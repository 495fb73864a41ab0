// Package origin is where tiles come from: GetObject on S3 with credentials that are fresh before
// they are needed, failures told apart, presigned URLs that stay the same for a while, and
// credentials for a caller's own use.
//
// An AWS is what all sources share; the S3 of one source is where its tiles come from.
package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// Options of an AWS. A zero field has the default that its comment states. What the standard AWS
// variables and files say (AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_CA_BUNDLE, AWS_MAX_ATTEMPTS, …)
// holds where an option says nothing.
type Options struct {
	Region      string // default: AWS_REGION's; us-east-1 with an endpoint of our own
	Endpoint    string // URL of an S3-compatible service; default: AWS's
	STSEndpoint string // URL; default: AWS's, except that a custom Endpoint needs one for its roles
	PathStyle   bool   // bucket in the path, not in the host name

	FirstByte time.Duration // to S3's headers, and for an error document to come whole; default 30 s
	Progress  time.Duration // without a byte of a body; default 10 s

	PresignExpires time.Duration // life of a presigned URL; default 15 min
	PresignWindow  time.Duration // how long it stays the same; default 5 min

	Sources []Source
	Logger  *slog.Logger // default: nothing is logged
	Observe Observer

	// Base gives the credentials that need no role; default: the SDK's default chain, read anew at each
	// call. With it the standard variables and files are not looked at.
	Base func(context.Context) (aws.Credentials, error)
	// Dial opens connections to S3 and STS; default: the network.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Source is where the bytes of one tileset or file are.
type Source struct {
	ID     string // the tileset's, or "file:" and the file's; the name for it everywhere below
	Bucket string
	Prefix string                // of every key: what stands before the first placeholder; a file's whole key
	Key    func(tile.Key) string // the object of a tile
	Canary tile.Key              // a tile that is likely there: one at minzoom
	Forbid MissingOn403          // what a 403 means
	Role   Role                  // zero: the base credentials

	// Vend may hand out credentials for it; needs a Role, Texts and Opens.
	Vend  bool
	Texts []string // of every key: what stands before, between and behind the placeholders
	Opens []string // the other sources that have keys which Texts with * between them matches; IDs
}

func (src *Source) isFile() bool { return strings.HasPrefix(src.ID, "file:") }

// MissingOn403 says what S3's 403 AccessDenied for a tile means. Without s3:ListBucket S3 answers
// so for a key that doesn't exist.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
type MissingOn403 uint8

// What a source's 403 can mean.
const (
	Ask   MissingOn403 = iota // find out, by two probes
	True                      // the tile is missing
	False                     // access is denied
)

// Role is assumed with the base credentials, or with a web identity token.
type Role struct {
	ARN                  string            // empty: no role, whatever the rest says
	SessionName          string            // default tilegate
	ExternalID           string            // sent when not empty
	Duration             time.Duration     // 15 min to 12 h, default 1 h; AWS allows 1 h when the base credentials are a role's
	Tags                 map[string]string // session tags
	ScopeDown            bool              // with a session policy for what its sources need, and nothing else
	WebIdentityTokenFile string            // AssumeRoleWithWebIdentity; the file is read at each call
}

func (r Role) zero() bool { return r.ARN == "" }

// id tells roles apart; two sources with equal roles share their credentials.
func (r Role) id() string {
	var tags strings.Builder
	for _, k := range slices.Sorted(maps.Keys(r.Tags)) {
		fmt.Fprintf(&tags, "%q=%q,", k, r.Tags[k])
	}
	return fmt.Sprintf("%q %q %q %s %s %t %q", r.ARN, r.SessionName, r.ExternalID, r.Duration, tags.String(), r.ScopeDown, r.WebIdentityTokenFile)
}

// Observer is told what happens, for metrics. Every field may be nil. Each is called from many
// goroutines and must not block. The strings are from bounded sets: sources' IDs, credentials'
// names, and the outcomes ok, not_modified, missing, changed, denied, bad_answer, unreachable,
// slow_down, no_credentials, timeout and cancelled.
type Observer struct {
	Request func(source, outcome string, took time.Duration) // one request for a tile, up to S3's headers; probes don't count
	Body    func(source, outcome string)                     // a body that failed
	Retry   func(source string)                              // a request that is sent again
	Refresh func(credentials string, ok bool)                // one call for credentials
}

// AWS is what all sources share: clients, credentials, and what has been learnt of S3.
type AWS struct {
	opt      Options
	attempts int         // of one request, the first included
	client   *httpClient // to S3
	signer   *v4.Signer
	s3       *s3.Client // for all but GetObject, see get.go
	presign  *s3.PresignClient
	sts      *sts.Client
	skew     atomic.Int64 // nanoseconds that S3's clock is ahead of this machine's
	base     *keeper      // nil when every role has a token file
	keepers  []*keeper    // distinct, the base's included
	sources  map[string]*S3

	transports []*http.Transport
	vending    chan struct{} // a place for each Vend under way
}

// S3 is the origin of one source's tiles. Its methods are safe for concurrent use.
type S3 struct {
	*Source
	aws      *AWS
	endpoint endpoint
	keeper   *keeper
	gate     gate
	budget   budget
	verdict  verdict // on 403s
	window   window  // of presigned URLs
	health   health
	known    atomic.Pointer[string] // a key of an object that has been read
}

// New prepares everything and asks nobody. The error joins every fault found in the options.
func New(ctx context.Context, opt Options) (*AWS, error) {
	opt = withDefaults(opt)
	cfg, err := loadConfig(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("the AWS environment variables and files: %w", err)
	}
	a := &AWS{
		opt:      opt,
		attempts: cmp.Or(cfg.RetryMaxAttempts, maxAttempts),
		sources:  make(map[string]*S3, len(opt.Sources)),
		vending:  make(chan struct{}, maxVending),
	}
	a.newClients(cfg)
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if a.s3.Options().Region == "" {
		fault("no AWS region: set aws.region or AWS_REGION")
	}
	if opt.PresignExpires < opt.PresignWindow+minPresignLife {
		fault("presign.expires %s is less than presign.window %s and %s", opt.PresignExpires, opt.PresignWindow, minPresignLife)
	}
	byRole := map[string][]*Source{}
	for i := range opt.Sources {
		src := &opt.Sources[i]
		if _, twice := a.sources[src.ID]; twice {
			fault("%s: there are two of them", src.ID)
		}
		if src.Vend && src.Role.ARN == "" {
			fault("%s: vend needs a role to assume for the caller", src.ID)
		}
		if src.Vend && src.Texts == nil {
			fault("%s: vend needs the texts of its keys", src.ID)
		}
		at, err := a.resolve(ctx, src.Bucket)
		if err != nil && a.s3.Options().Region != "" {
			fault("%s: %w", src.ID, err)
		}
		a.sources[src.ID] = &S3{Source: src, aws: a, endpoint: at, gate: gate{limit: maxConcurrency}, budget: budget{retries: retryBurst}}
		byRole[src.Role.id()] = append(byRole[src.Role.id()], src)
	}
	for _, id := range slices.Sorted(maps.Keys(byRole)) {
		keeper, err := a.roleKeeper(byRole[id])
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, src := range byRole[id] {
			a.sources[src.ID].keeper = keeper
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return a, nil
}

func withDefaults(opt Options) Options {
	opt.FirstByte = cmp.Or(opt.FirstByte, 30*time.Second)
	opt.Progress = cmp.Or(opt.Progress, 10*time.Second)
	opt.PresignExpires = cmp.Or(opt.PresignExpires, 15*time.Minute)
	opt.PresignWindow = cmp.Or(opt.PresignWindow, 5*time.Minute)
	opt.Sources = slices.Clone(opt.Sources)
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

func loadConfig(ctx context.Context, opt Options) (aws.Config, error) {
	client := newHTTPClient(opt.FirstByte, opt.Dial)
	if opt.Base != nil {
		return aws.Config{Region: opt.Region, HTTPClient: client, Logger: logging.Nop{}}, nil
	}
	return config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithRegion(opt.Region), config.WithLogger(logging.Nop{}))
}

func (a *AWS) newClients(cfg aws.Config) {
	transport := cfg.HTTPClient.(*awshttp.BuildableClient).GetTransport()
	a.client = &httpClient{transport: transport, progress: a.opt.Progress, document: a.opt.FirstByte}
	a.signer = newSigner()
	a.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = a.client
		o.Credentials = aws.CredentialsProviderFunc(signedWith)
		o.Retryer = aws.NopRetryer{} // retry.go has a budget
		o.RetryMaxAttempts = 0
		o.UsePathStyle = a.opt.PathStyle
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // a presigned URL can't ask for it
		if a.opt.Endpoint != "" {
			o.BaseEndpoint = &a.opt.Endpoint
		}
		if o.BaseEndpoint != nil {
			o.Region = cmp.Or(o.Region, "us-east-1") // what others than AWS call it
		}
	})
	a.presign = s3.NewPresignClient(a.s3, func(o *s3.PresignOptions) { o.Presigner = backdater{a.signer} })

	patient := transport.Clone()
	patient.ResponseHeaderTimeout = 0 // the attempt's context bounds it
	a.transports = []*http.Transport{transport, patient}
	a.sts = sts.NewFromConfig(cfg, func(o *sts.Options) {
		o.HTTPClient = &httpClient{transport: patient, progress: a.opt.Progress, document: a.opt.FirstByte}
		o.Credentials = aws.CredentialsProviderFunc(signedWith)
		o.Retryer = aws.NopRetryer{} // the keeper tries again
		o.RetryMaxAttempts = 0
		o.Region = a.s3.Options().Region
		if a.opt.STSEndpoint != "" {
			o.BaseEndpoint = &a.opt.STSEndpoint
		}
	})
}

// Source returns the source with that ID, nil when there is none.
func (a *AWS) Source(id string) *S3 { return a.sources[id] }

// Run keeps credentials fresh, and asks each source once whether S3 answers, until ctx ends.
func (a *AWS) Run(ctx context.Context) {
	defer func() {
		for _, t := range a.transports {
			t.CloseIdleConnections()
		}
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, k := range a.keepers {
		wg.Go(func() { k.run(ctx) })
	}
	places := make(chan struct{}, maxReaching)
	for _, s := range a.sources {
		wg.Go(func() { s.reach(ctx, places) })
	}
}

type signingKey struct{}

// signWith makes the requests with this context be signed with creds: who retries or probes knows, and
// decides, what was signed with what.
func signWith(ctx context.Context, creds aws.Credentials) context.Context {
	return context.WithValue(ctx, signingKey{}, creds)
}

func signedWith(ctx context.Context) (aws.Credentials, error) {
	creds, ok := ctx.Value(signingKey{}).(aws.Credentials)
	if !ok {
		return creds, errors.New("a request without credentials")
	}
	return creds, nil
}
