package origin_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// atOnce is how many requests the benchmarks have under way.
const atOnce = 32

// BenchmarkGetObject compares Fetch with a bare loop of the SDK's GetObject on the same S3:
// goal ≥ 0.80 of its rate.
func BenchmarkGetObject(b *testing.B) {
	w := start(b, nil)
	if _, _, err := w.fetch(b.Context(), tile101, tile.Condition{}); err != nil {
		b.Fatal(err)
	}
	bare := s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(w.URL()), UsePathStyle: true,
		ResponseChecksumValidation:                aws.ResponseChecksumValidationWhenSupported, // as config.LoadDefaultConfig has it
		DisableLogOutputChecksumValidationSkipped: true,
		HTTPClient: awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.MaxIdleConnsPerHost = 256 }),
		Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			return static("AKIAUSER", "user-secret")(ctx)
		}),
	})
	b.Run("bare-sdk", func(b *testing.B) {
		run(b, func(ctx context.Context) error {
			out, err := bare.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: aws.String("base/1/0/1.png")})
			if err != nil {
				return err
			}
			return drain(out.Body)
		})
	})
	b.Run("fetch", func(b *testing.B) {
		run(b, func(ctx context.Context) error {
			o, err := w.tiles.Fetch(ctx, tile101, tile.Condition{})
			if err != nil {
				return err
			}
			return drain(o.Body)
		})
	})
}

func run(b *testing.B, one func(context.Context) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if err := one(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "objects/s")
}

func drain(body io.ReadCloser) error {
	_, err := io.Copy(io.Discard, body)
	if err != nil {
		return err
	}
	return body.Close()
}
