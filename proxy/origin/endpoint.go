package origin

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyauth "github.com/aws/smithy-go/auth"
	"github.com/aws/smithy-go/encoding/httpbinding"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// endpoint is where the objects of a bucket are, and how requests for them are signed.
type endpoint struct {
	url             url.URL // its path ends before the slash in front of a key
	service, region string
}

// object is where an object is.
func (e *endpoint) object(name string) *url.URL {
	u := e.url
	u.RawPath = u.EscapedPath() + "/" + httpbinding.EscapePath(name, false)
	u.Path += "/" + name
	return &u
}

// learnRegion uses the region that S3 names for the bucket from now on. That is believed once, so that two regions
// which name each other are not asked by turns for ever.
func (s *S3) learnRegion(ctx context.Context, region string) {
	old := s.endpoint.Load()
	if region == old.region || s.moved.Load() {
		return
	}
	at, err := s.store.resolve(ctx, s.Bucket, region)
	if err != nil || !s.moved.CompareAndSwap(false, true) {
		return
	}
	s.endpoint.Store(&at)
	s.aws.opt.Logger.Warn("the bucket is in another region, which is used from now on", "source", s.ID, "bucket", s.Bucket,
		"region", region, "hint", "set "+s.regionKey()+" to "+region+": that saves a detour at each start")
}

// regionKey is the key of the configuration that names the bucket's region.
func (s *S3) regionKey() string {
	switch {
	case s.Region != "":
		return "the source's region"
	case s.Store != "":
		return "stores." + s.Store + ".region, or the source's region,"
	}
	return "aws.region, or the source's region,"
}

// resolve asks the SDK's rules for the endpoint of a bucket. It is called once for each source and region. It fails
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
