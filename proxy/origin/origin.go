package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// AWS is what all sources share: clients, credentials, and what has been learnt about S3.
type AWS struct {
	opt      Options
	attempts int         // most attempts of one request, the first included
	client   *httpClient // to S3
	signer   *v4.Signer
	s3       *s3.Client // for all calls but GetObject, which getobject.go makes
	presign  *s3.PresignClient
	sts      *sts.Client
	skew     atomic.Int64       // nanoseconds that S3's clock is ahead of this machine's
	base     *credentialCache   // nil where every role has a token file
	caches   []*credentialCache // all of them, base included
	sources  map[string]*S3

	transports []*http.Transport
	vendSlots  chan struct{} // holds one element for each Vend under way
}

// S3 is the origin of one source's tiles. Its methods may be called from several goroutines at once.
type S3 struct {
	*Source
	aws         *AWS
	endpoint    endpoint
	credentials *credentialCache
	gate        gate
	retries     retryBudget
	probes      probes // what a 403 means
	urls        urlWindow
	health      health
	readable    atomic.Pointer[string] // the key of an object that has been read, for probes
}

// New prepares everything and sends no request. Its error joins every fault found in the options.
func New(ctx context.Context, opt Options) (*AWS, error) {
	opt = withDefaults(opt)
	cfg, err := loadConfig(ctx, opt)
	if err != nil {
		return nil, fmt.Errorf("the AWS environment variables and files: %w", err)
	}
	a := &AWS{
		opt:       opt,
		attempts:  cmp.Or(cfg.RetryMaxAttempts, maxAttempts),
		sources:   make(map[string]*S3, len(opt.Sources)),
		vendSlots: make(chan struct{}, maxVending),
	}
	a.newClients(cfg)
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if a.s3.Options().Region == "" {
		fault("no AWS region: set aws.region or AWS_REGION")
	}
	if opt.PresignExpires < opt.PresignWindow+minURLLife {
		fault("presign.expires %s is less than presign.window %s and %s", opt.PresignExpires, opt.PresignWindow, minURLLife)
	}
	byRole := map[string][]*Source{}
	for i := range opt.Sources {
		src := &opt.Sources[i]
		if _, twice := a.sources[src.ID]; twice {
			fault("%s: there are two of them", src.ID)
		}
		if src.Vend && src.Role.isZero() {
			fault("%s: vend needs a role to assume for the caller", src.ID)
		}
		if src.Vend && src.Literals == nil {
			fault("%s: vend needs the literal parts of its keys", src.ID)
		}
		at, err := a.resolve(ctx, src.Bucket)
		if err != nil && a.s3.Options().Region != "" {
			fault("%s: %w", src.ID, err)
		}
		a.sources[src.ID] = &S3{Source: src, aws: a, endpoint: at, gate: gate{limit: maxConcurrency}, retries: retryBudget{left: retryBurst}}
		byRole[src.Role.id()] = append(byRole[src.Role.id()], src)
	}
	for _, id := range slices.Sorted(maps.Keys(byRole)) {
		cache, err := a.cacheForRole(byRole[id])
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, src := range byRole[id] {
			a.sources[src.ID].credentials = cache
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return a, nil
}

// Source returns the source with that ID, nil when there is none.
func (a *AWS) Source(id string) *S3 { return a.sources[id] }

// Run keeps the credentials fresh until ctx ends. At start it asks S3 for one byte of each source, so that
// Ready can tell whether S3 answers.
func (a *AWS) Run(ctx context.Context) {
	defer func() {
		for _, t := range a.transports {
			t.CloseIdleConnections()
		}
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range a.caches {
		wg.Go(func() { c.run(ctx) })
	}
	slots := make(chan struct{}, maxStartProbes)
	for _, s := range a.sources {
		wg.Go(func() { s.probeAtStart(ctx, slots) })
	}
}
