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

// loadConfig reads the standard AWS variables and files, unless Options.Base replaces them.
func loadConfig(ctx context.Context, opt Options) (aws.Config, error) {
	client := newHTTPClient(opt.FirstByte, opt.Dial)
	if opt.Base != nil {
		return aws.Config{Region: opt.Region, HTTPClient: client, Logger: logging.Nop{}}, nil
	}
	return config.LoadDefaultConfig(ctx, config.WithHTTPClient(client), config.WithRegion(opt.Region), config.WithLogger(logging.Nop{}))
}

// newClients makes the clients of S3 and STS. The SDK's own retries are off: fetch.go and credentials.go
// retry within bounds that are stated in this package's comment.
func (a *AWS) newClients(cfg aws.Config) {
	transport := cfg.HTTPClient.(*awshttp.BuildableClient).GetTransport()
	a.client = &httpClient{transport: transport, progress: a.opt.Progress, document: a.opt.FirstByte}
	a.signer = v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }) // S3 escapes paths once, not twice
	a.s3 = s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.HTTPClient = a.client
		o.Credentials = aws.CredentialsProviderFunc(credentialsFrom)
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 0
		o.UsePathStyle = a.opt.PathStyle
		o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired // a presigned URL cannot ask for a checksum
		if a.opt.Endpoint != "" {
			o.BaseEndpoint = &a.opt.Endpoint
		}
		if o.BaseEndpoint != nil {
			o.Region = cmp.Or(o.Region, "us-east-1") // the usual region of services other than AWS
		}
	})
	a.presign = s3.NewPresignClient(a.s3, func(o *s3.PresignOptions) { o.Presigner = backdater{a.signer} })

	stsTransport := transport.Clone()
	stsTransport.ResponseHeaderTimeout = 0 // refreshTimeout and vendTimeout bound the call
	a.transports = []*http.Transport{transport, stsTransport}
	a.sts = sts.NewFromConfig(cfg, func(o *sts.Options) {
		o.HTTPClient = &httpClient{transport: stsTransport, progress: a.opt.Progress, document: a.opt.FirstByte}
		o.Credentials = aws.CredentialsProviderFunc(credentialsFrom)
		o.Retryer = aws.NopRetryer{}
		o.RetryMaxAttempts = 0
		o.Region = a.s3.Options().Region
		if a.opt.STSEndpoint != "" {
			o.BaseEndpoint = &a.opt.STSEndpoint
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
