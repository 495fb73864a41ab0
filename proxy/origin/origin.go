package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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
	etags       atomic.Uint32          // an etagMeaning
}

// New prepares everything and sends no request. Its error joins an OptionError or a SourceError for every fault in
// the options, with errors.Join. Where the AWS environment variables and files cannot be read, that is its error.
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
	faults := a.checkOptions()
	for i := range opt.Sources {
		src := &opt.Sources[i]
		faults = append(faults, a.checkSource(src)...)
		at, err := a.resolve(ctx, src.Bucket)
		if err != nil && a.region() != "" { // without a region no bucket has an endpoint
			faults = append(faults, &SourceError{ID: src.ID, Field: "Bucket", Problem: err.Error()})
		}
		a.sources[src.ID] = &S3{Source: src, aws: a, endpoint: at, gate: gate{limit: maxConcurrency}, retries: retryBudget{left: retryBurst}}
	}
	for _, sources := range byRole(opt.Sources) {
		cache, err := a.cacheForRole(sources)
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, src := range sources {
			a.sources[src.ID].credentials = cache
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *AWS) region() string { return a.s3.Options().Region }

func (a *AWS) checkOptions() (faults []error) {
	if a.region() == "" {
		faults = append(faults, &OptionError{"Region", "is not set, nor is AWS_REGION, nor a region in the shared files' profile", "write eu-central-1"})
	}
	hasRole := func(src Source) bool { return !src.Role.isZero() }
	if a.lacksSTS() && slices.ContainsFunc(a.opt.Sources, hasRole) {
		faults = append(faults, &OptionError{
			"STSEndpoint", "is required by a role where S3 is not AWS's",
			"often it is the same URL; write https://sts.REGION.amazonaws.com when the endpoint leads to AWS after all",
		})
	}
	if a.opt.PresignExpires < a.opt.PresignWindow+minURLLife {
		faults = append(faults, &OptionError{"PresignExpires", fmt.Sprintf("is %s, less than PresignWindow (%s) and %s more", a.opt.PresignExpires, a.opt.PresignWindow, minURLLife), ""})
	}
	return faults
}

// checkSource looks at one source, which is not among a.sources yet.
func (a *AWS) checkSource(src *Source) (faults []error) {
	fault := func(field, problem string) {
		faults = append(faults, &SourceError{ID: src.ID, Field: field, Problem: problem})
	}
	if a.sources[src.ID] != nil {
		fault("ID", "is another source's, too")
	}
	if src.Vend && src.Role.isZero() {
		fault("Vend", "needs a role to assume for the caller")
	}
	if src.Vend && src.Literals == nil {
		fault("Literals", "is required by Vend")
	}
	return faults
}

// byRole groups the sources that share a role. The groups, and the sources of each, are in the given order.
func byRole(sources []Source) [][]*Source {
	var groups [][]*Source
	index := map[string]int{}
	for i := range sources {
		id := sources[i].Role.id()
		n, known := index[id]
		if !known {
			n = len(groups)
			index[id] = n
			groups = append(groups, nil)
		}
		groups[n] = append(groups[n], &sources[i])
	}
	return groups
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
