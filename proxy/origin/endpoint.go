package origin

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyauth "github.com/aws/smithy-go/auth"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// endpoint is where the objects of a bucket are, and how requests for them are signed.
type endpoint struct {
	url             url.URL // its path ends before the slash in front of a key
	service, region string
}

// region is the bucket's.
func (s *S3) region() string { return cmp.Or(s.Region, s.store.region()) }

// resolve asks the SDK's rules for the endpoint of a bucket. It is called once for each source. It fails
// for an invalid name, and for buckets that need another way of signing: directory buckets and
// multi-region access points.
func (st *store) resolve(ctx context.Context, bucket, region string) (endpoint, error) {
	o := st.s3.Options()
	resolved, err := o.EndpointResolverV2.ResolveEndpoint(ctx, s3.EndpointParameters{
		Bucket: &bucket, Region: &region, Endpoint: o.BaseEndpoint, ForcePathStyle: &o.UsePathStyle,
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		UseArnRegion: &o.UseARNRegion, DisableMultiRegionAccessPoints: aws.Bool(true),
	})
	if err != nil {
		return endpoint{}, fmt.Errorf("bucket %q: %w", bucket, err)
	}
	e := endpoint{url: resolved.URI, service: "s3", region: region}
	e.url.Path = strings.TrimSuffix(e.url.Path, "/")
	options, _ := smithyauth.GetAuthOptions(&resolved.Properties)
	for _, option := range options {
		if option.SchemeID != "sigv4" {
			return endpoint{}, fmt.Errorf("bucket %q: its requests are signed in a way (%s) that tilegate does not support", bucket, option.SchemeID)
		}
		if name, ok := smithyhttp.GetSigV4SigningName(&option.SignerProperties); ok {
			e.service = name
		}
		if region, ok := smithyhttp.GetSigV4SigningRegion(&option.SignerProperties); ok {
			e.region = region
		}
	}
	return e, nil
}
