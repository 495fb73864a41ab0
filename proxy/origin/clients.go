package origin

import (
	"cmp"
	"context"
	"errors"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"
)

// loadConfig reads the standard AWS variables and files, unless Store.Base replaces them.
func (st *store) loadConfig(ctx context.Context) (aws.Config, error) {
	client := newHTTPClient(st.aws.opt.FirstByte, st.aws.opt.Dial)
	if st.Base != nil {
		return aws.Config{Region: st.Region, HTTPClient: client, Logger: logging.Nop{}}, nil
	}
	return config.LoadDefaultConfig(ctx, append(st.loadOptions(), config.WithHTTPClient(client))...)
}

// loadOptions are what the store adds to the standard variables and files.
func (st *store) loadOptions() []func(*config.LoadOptions) error {
	return []func(*config.LoadOptions) error{
		config.WithRegion(st.Region), config.WithSharedConfigProfile(st.Profile), config.WithLogger(logging.Nop{}),
	}
}

// newClients makes the clients of S3 and STS. The SDK's own retries are off: fetch.go and credentials.go
// retry within bounds that are stated in this package's comment.
func (st *store) newClients(cfg aws.Config) {
	transport := cfg.HTTPClient.(*awshttp.BuildableClient).GetTransport()
	opt := &st.aws.opt
	st.client = &httpClient{transport: transport, progress: opt.Progress, document: opt.FirstByte}
	st.signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // S3 escapes paths once, not twice
	st.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = st.client
		o.Credentials = aws.CredentialsProviderFunc(credentialsFrom)
		if st.Anonymous {
			o.Credentials = aws.AnonymousCredentials{}
		}
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 0
		o.UsePathStyle = st.PathStyle
		o.UseARNRegion = true                                                     // an access point's ARN names its region
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // a presigned URL cannot ask for a checksum
		if st.Endpoint != "" {
			o.BaseEndpoint = &st.Endpoint
		}
		if o.BaseEndpoint != nil {
			o.Region = cmp.Or(o.Region, "us-east-1") // the usual region of services other than AWS
		}
	})
	// The SDK's option for GetObject. getobject.go makes that call, so it has to be honoured there.
	st.noChecksums.Store(cfg.ResponseChecksumValidation == aws.ResponseChecksumValidationWhenRequired)
	st.presign = s3.NewPresignClient(st.s3, func(o *s3.PresignOptions) { o.Presigner = backdater{st.signer, st.RequestPayer} })

	stsTransport := transport.Clone()
	stsTransport.ResponseHeaderTimeout = 0 // refreshTimeout and vendTimeout bound the call
	st.transports = []*http.Transport{transport, stsTransport}
	st.sts = sts.NewFromConfig(cfg, func(o *sts.Options) {
		o.HTTPClient = &httpClient{transport: stsTransport, progress: opt.Progress, document: opt.FirstByte}
		o.Credentials = aws.CredentialsProviderFunc(credentialsFrom)
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 0
		o.Region = st.s3.Options().Region
		o.APIOptions = append(o.APIOptions, st.learnFromRefusals)
		if st.STSEndpoint != "" {
			o.BaseEndpoint = &st.STSEndpoint
		}
	})
}

type credentialsKey struct{}

// withCredentials returns a context whose SDK calls are signed with creds. The caller chooses the
// credentials of each request, because it must know which ones S3 has rejected.
func withCredentials(ctx context.Context, creds aws.Credentials) context.Context {
	return context.WithValue(ctx, credentialsKey{}, creds)
}

func credentialsFrom(ctx context.Context) (aws.Credentials, error) {
	creds, ok := ctx.Value(credentialsKey{}).(aws.Credentials)
	if !ok {
		return creds, errors.New("a request without credentials")
	}
	return creds, nil
}
