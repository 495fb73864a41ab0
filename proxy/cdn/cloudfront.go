package cdn

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront"
	"github.com/aws/aws-sdk-go-v2/service/cloudfront/types"
	"github.com/aws/smithy-go"
)

// CloudFrontOptions are those of a distribution.
type CloudFrontOptions struct {
	Distribution string // its ID
	Endpoint     string // "": Amazon's own
	// Credentials need cloudfront:CreateInvalidation on the distribution. They are asked for at each attempt.
	Credentials aws.CredentialsProviderFunc
	Client      *http.Client // default: one with a timeout of 20 s
}

// CloudFront invalidates cache tags. The distribution must have a CacheTagConfig that names Cache-Tag. A tag is an item of the
// invalidation's paths that begins with "#". A request has 3,000 items at most, which is also what may be in progress.
// https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/invalidation-by-tags.html
func CloudFront(o CloudFrontOptions) *Purger {
	if o.Client == nil {
		o.Client = &http.Client{
			Timeout:       20 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	options := cloudfront.Options{
		Region: "us-east-1", HTTPClient: o.Client, Credentials: o.Credentials, Retryer: aws.NopRetryer{},
	}
	if o.Endpoint != "" {
		options.BaseEndpoint = &o.Endpoint
	}
	client := cloudfront.New(options)
	return &Purger{Name: "cloudfront", batch: 3000, send: func(ctx context.Context, reference string, tags []string, _ bool) error {
		items := make([]string, len(tags))
		for i, tag := range tags {
			items[i] = "#" + tag
		}
		_, err := client.CreateInvalidation(ctx, &cloudfront.CreateInvalidationInput{
			DistributionId: &o.Distribution,
			InvalidationBatch: &types.InvalidationBatch{
				CallerReference: &reference,
				Paths:           &types.Paths{Items: items, Quantity: aws.Int32(int32(len(items)))},
			},
		})
		return cloudFrontError(err)
	}}
}

// passingCodes are those of Amazon's after which the same request may succeed.
var passingCodes = map[string]bool{
	"TooManyInvalidationsInProgress": true, "Throttling": true, "ThrottlingException": true, "TooManyRequestsException": true,
	"RequestLimitExceeded": true, "ServiceUnavailable": true, "InternalError": true, "InternalFailure": true,
}

func cloudFrontError(err error) error {
	if err == nil {
		return nil
	}
	if said, ok := errors.AsType[smithy.APIError](err); ok {
		told := fmt.Errorf("it refused: %s%s", said.ErrorCode(), sanitize(": "+said.ErrorMessage()))
		response, answered := errors.AsType[interface {
			error
			HTTPStatusCode() int
		}](err)
		if passingCodes[said.ErrorCode()] || said.ErrorFault() == smithy.FaultServer || answered && response.HTTPStatusCode() >= 500 {
			return &passingError{error: told}
		}
		return told
	}
	told := fmt.Errorf("it cannot be asked: %s", sanitize(err.Error()))
	if response, ok := errors.AsType[*smithy.OperationError](err); ok {
		told = fmt.Errorf("it cannot be asked: %s", sanitize(response.Err.Error()))
	}
	return &passingError{error: told}
}
