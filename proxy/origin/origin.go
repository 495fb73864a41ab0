package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// AWS is what all sources share: stores, with their credentials and what has been learnt about them.
type AWS struct {
	opt      Options
	attempts int               // most attempts of one request, the first included
	stores   map[string]*store // by name
	caches   []*credentialCache
	sources  map[string]*S3
}

// S3 is the origin of one source's tiles. Its methods may be called from several goroutines at once.
type S3 struct {
	*Source
	aws         *AWS
	store       *store
	endpoint    atomic.Pointer[endpoint]
	moved       atomic.Bool // S3 has named another region
	credentials *credentialCache
	gate        gate
	retries     retryBudget
	probes      probes // what a 403 means
	urls        urlWindow
	health      health
	readable    atomic.Pointer[string] // the key of an object that has been read, for probes
	etags       atomic.Uint32          // an etagMeaning
}

// BaseCredentials are those of the default store, before any role: for a service other than S3. They are read anew at each call.
func (a *AWS) BaseCredentials(ctx context.Context) (aws.Credentials, error) {
	return a.stores[a.opt.Store.Name].baseCredentials(ctx)
}

// New prepares everything and sends no request. Its error joins an OptionError or a SourceError for every fault in
// the options, with errors.Join. Where the AWS environment variables and files cannot be read, that is its error.
func New(ctx context.Context, opt Options) (*AWS, error) {
	opt = withDefaults(opt)
	a := &AWS{
		opt:     opt,
		stores:  make(map[string]*store, 1+len(opt.Stores)),
		sources: make(map[string]*S3, len(opt.Sources)),
	}
	var faults []error
	for i := -1; i < len(opt.Stores); i++ {
		s := &a.opt.Store
		if i >= 0 {
			s = &a.opt.Stores[i]
		}
		if a.stores[s.Name] != nil {
			faults = append(faults, &OptionError{s.Name, "Name", "is another store's, too", ""})
			continue
		}
		st, cfg, err := a.newStore(ctx, s)
		if err != nil {
			return nil, err
		}
		if i < 0 {
			a.attempts = cmp.Or(cfg.RetryMaxAttempts, maxAttempts)
		}
		a.stores[s.Name] = st
		if i >= 0 || len(opt.Stores) == 0 || a.uses(s.Name) {
			faults = append(faults, st.check()...)
		}
	}
	faults = append(faults, a.checkOptions()...)
	for i := range a.opt.Sources {
		src := &a.opt.Sources[i]
		faults = append(faults, a.checkSource(src)...)
		st := a.stores[src.Store]
		if st == nil {
			continue
		}
		at, err := st.resolve(ctx, src.Bucket, cmp.Or(src.Region, st.region()))
		if err != nil && st.region() != "" { // without a region no bucket has an endpoint
			fault := &SourceError{ID: src.ID, Field: "Bucket", Problem: err.Error()}
			if strings.HasPrefix(src.Bucket, "arn:") && st.PathStyle {
				fault.Hint = "an access point has a host name of its own: drop path_style, or write the name of the bucket"
			}
			faults = append(faults, fault)
		}
		s := &S3{Source: src, aws: a, store: st, gate: gate{limit: maxConcurrency}, retries: retryBudget{left: retryBurst}}
		s.endpoint.Store(&at)
		a.sources[src.ID] = s
	}
	for _, sources := range byIdentity(a.opt.Sources) {
		st := a.stores[sources[0].Store]
		if st == nil {
			continue
		}
		cache, err := st.cacheForRole(sources)
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

// uses reports whether a source is in the store of that name.
func (a *AWS) uses(store string) bool {
	return slices.ContainsFunc(a.opt.Sources, func(src Source) bool { return src.Store == store })
}

func (a *AWS) checkOptions() (faults []error) {
	if a.opt.PresignExpires < a.opt.PresignWindow+minURLLife {
		faults = append(faults, &OptionError{Field: "PresignExpires", Problem: fmt.Sprintf("is %s, less than PresignWindow (%s) and %s more", a.opt.PresignExpires, a.opt.PresignWindow, minURLLife)})
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
	if a.stores[src.Store] == nil {
		fault("Store", fmt.Sprintf("%q is no store", src.Store))
	}
	if (src.Role.ScopeDown || src.Vend) && !src.Role.isZero() && strings.HasSuffix(src.Bucket, "-s3alias") {
		faults = append(faults, &SourceError{
			src.ID, "Bucket", fmt.Sprintf("%q is an access point's alias, which a session policy cannot name", src.Bucket),
			"write the access point's ARN, or set scope_down: false",
		})
	}
	if src.Vend && src.Role.isZero() {
		fault("Vend", "needs a role to assume for the caller")
	}
	if src.Vend && src.Literals == nil {
		fault("Literals", "is required by Vend")
	}
	return faults
}

// byIdentity groups the sources that share a store and a role. The groups, and the sources of each, are in the
// given order.
func byIdentity(sources []Source) [][]*Source {
	var groups [][]*Source
	index := map[string]int{}
	for i := range sources {
		id := sources[i].identity()
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
		for _, st := range a.stores {
			for _, t := range st.transports {
				t.CloseIdleConnections()
			}
		}
	}()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, c := range a.caches {
		wg.Go(func() { c.run(ctx) })
	}
	for _, s := range a.sources {
		wg.Go(func() { s.probeAtStart(ctx) })
	}
}
