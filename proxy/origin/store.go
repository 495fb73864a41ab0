package origin

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Store is an S3, or a service that speaks its protocol, and the identity with which it is read. Each store has
// clients, credentials and a clock of its own. Where a field says nothing, the standard AWS variables and files
// decide (AWS_REGION, AWS_ENDPOINT_URL_S3, AWS_PROFILE, AWS_CA_BUNDLE, …).
type Store struct {
	Name string // sources name the store by it; "" is the default store, which Options contains

	Region      string // default: the region of AWS_REGION; us-east-1 where Endpoint is set
	Endpoint    string // URL of an S3-compatible service; default: AWS
	STSEndpoint string // URL; default: AWS. Required where Endpoint is set and a source has a role
	PathStyle   bool   // the bucket is in the path of URLs, not in the host name

	Anonymous    bool // requests are not signed; for public buckets
	RequestPayer bool // the requester pays for requests and transfer

	// The credentials that need no role. At most one of Profile, AccessKeyID and Base may be set. Default: the
	// SDK's default chain, which is read anew at each call.
	Profile         string // of the shared files
	AccessKeyID     string // with SecretAccessKey, and SessionToken where the keys are temporary
	SecretAccessKey string
	SessionToken    string
	// Base returns them. With it, the standard variables and files are not read.
	Base func(context.Context) (aws.Credentials, error)
}

// store is a Store made ready.
type store struct {
	*Store
	aws     *AWS
	client  *httpClient // to S3
	signer  *v4.Signer
	s3      *s3.Client // for all calls but GetObject, which getobject.go makes
	presign *s3.PresignClient
	sts     *sts.Client
	skew    atomic.Int64 // nanoseconds that S3's clock is ahead of this machine's
	stsSkew atomic.Int64 // the same of STS's clock

	// noChecksums is true where requests do not ask for checksums: the store has refused that, or the standard
	// variable AWS_RESPONSE_CHECKSUM_VALIDATION says when_required.
	noChecksums atomic.Bool

	// What bounds the work of one store, so that a store which does not answer delays no other.
	startSlots chan struct{} // holds one element for each probe at start
	vendSlots  chan struct{} // holds one element for each Vend under way

	base       *credentialCache // nil where every role has a token file
	transports []*http.Transport
}

// newStore prepares a store and sends no request.
func (a *AWS) newStore(ctx context.Context, s *Store) (*store, aws.Config, error) {
	st := &store{Store: s, aws: a, startSlots: make(chan struct{}, maxStartProbes), vendSlots: make(chan struct{}, maxVending)}
	cfg, err := st.loadConfig(ctx)
	if err != nil {
		return nil, cfg, fmt.Errorf("the AWS environment variables and files: %w", err)
	}
	st.newClients(cfg)
	return st, cfg, nil
}

func (st *store) region() string { return st.s3.Options().Region }

// check returns the faults in the store's options.
func (st *store) check() (faults []error) {
	fault := func(field, problem, hint string) {
		faults = append(faults, &OptionError{st.Name, field, problem, hint})
	}
	if st.region() == "" {
		fault("Region", "is not set, nor is AWS_REGION, nor a region in the shared files' profile", "write eu-central-1")
	}
	if (st.AccessKeyID == "") != (st.SecretAccessKey == "") {
		fault("SecretAccessKey", "is of use only together with the access key's ID", "write both or none")
	}
	switch given := count(st.Profile != "", st.AccessKeyID != "", st.Base != nil); {
	case given > 1:
		fault("Profile", "excludes an access key", "drop the one or the other")
	case given > 0 && st.Anonymous:
		fault("Anonymous", "excludes credentials", "drop the one or the other")
	}
	hasRole := false
	for i := range st.aws.opt.Sources {
		src := &st.aws.opt.Sources[i]
		hasRole = hasRole || src.Store == st.Name && !src.Role.isZero()
	}
	if st.lacksSTS() && hasRole {
		fault(
			"STSEndpoint", "is required by a role where S3 is not AWS's",
			"often it is the same URL; write https://sts.REGION.amazonaws.com when the endpoint leads to AWS after all",
		)
	}
	if st.Anonymous && st.RequestPayer {
		fault("RequestPayer", "excludes anonymous: somebody must pay", "drop the one or the other")
	}
	if st.Anonymous && hasRole {
		fault("Anonymous", "excludes a role", "drop the one or the other")
	}
	return faults
}

func count(conditions ...bool) (n int) {
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

// lacksSTS reports whether S3 is another service's while no STS of it is known. AWS's own STS knows nothing of
// that service's users.
func (st *store) lacksSTS() bool {
	return st.s3.Options().BaseEndpoint != nil && st.sts.Options().BaseEndpoint == nil
}

// usesKMS reports whether objects may be encrypted with a KMS key. Only AWS's own S3 decrypts with KMS, and
// MinIO refuses a policy that names it.
func (st *store) usesKMS() bool { return st.s3.Options().BaseEndpoint == nil }

// payer is what requests that the SDK makes say about who pays.
func (st *store) payer() types.RequestPayer {
	if st.RequestPayer {
		return types.RequestPayerRequester
	}
	return ""
}

// title names the store for people.
func (st *store) title() string { return cmp.Or(st.Name, "default") }

// qualified adds the store's name to a name that is fit for metrics and /ready.
func (st *store) qualified(name string) string {
	if st.Name == "" {
		return name
	}
	return name + " (" + st.Name + ")"
}
