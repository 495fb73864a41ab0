package origin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/proxy"
	"tilegate/tilecache"
)

// minPresignLife is the shortest life of a URL that is handed out.
const minPresignLife = 20 * time.Second

// window keeps what the URLs of one source are signed with, so that a refresh of the credentials doesn't
// change a URL which browsers and CDNs have under its old name.
type window struct {
	mu    sync.Mutex
	begun time.Time // by S3's clock; URLs are signed as of then
	creds aws.Credentials
}

var _ proxy.Presigner = (*S3)(nil)

// Presign implements proxy.Presigner: the URL gets the object straight from S3. Within Options.PresignWindow it is
// the same on every call. Errors: proxy.ErrNoCredentials, also when those held live less than 20 s.
func (s *S3) Presign(ctx context.Context, key tilecache.Key) (proxy.Signed, error) {
	opt := &s.aws.opt
	skew := s.aws.clockSkew()
	now := time.Now().Add(skew)
	begun := now.Truncate(opt.PresignWindow)
	creds, err := s.window.at(ctx, begun, now, skew, s.keeper)
	if err != nil {
		return proxy.Signed{}, err
	}
	expires, constant := begun.Add(opt.PresignExpires), begun.Add(opt.PresignWindow)
	if end := creds.Expires.Add(skew); creds.CanExpire {
		expires = earlier(expires, end.Truncate(time.Second))
		constant = earlier(constant, end.Add(-minPresignLife)) // others are used from then on
	}
	name := s.Key(key)
	request, err := s.aws.presign.PresignGetObject(
		context.WithValue(signWith(ctx, creds), signingTimeKey{}, begun),
		&s3.GetObjectInput{Bucket: &s.Bucket, Key: &name},
		s3.WithPresignExpires(expires.Sub(begun)))
	if err != nil {
		return proxy.Signed{}, fmt.Errorf("presign s3://%s/%s: %w", s.Bucket, name, rootCause(err))
	}
	return proxy.Signed{URL: request.URL, Expires: expires.Add(-skew), Constant: constant.Sub(now)}, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// at returns the window's credentials: those of its first call, as long as they live.
func (w *window) at(ctx context.Context, begun, now time.Time, skew time.Duration, k *keeper) (aws.Credentials, error) {
	lives := func(c aws.Credentials) bool {
		return c.HasKeys() && (!c.CanExpire || c.Expires.Add(skew).Sub(now) >= minPresignLife)
	}
	w.mu.Lock()
	kept := w.creds
	current := w.begun.Equal(begun)
	w.mu.Unlock()
	if current && lives(kept) && !k.wereRefused(kept) {
		return kept, nil
	}
	creds, err := k.Retrieve(ctx)
	if err != nil {
		return creds, err
	}
	if !lives(creds) {
		return creds, fmt.Errorf("%w: those held live less than %s", proxy.ErrNoCredentials, minPresignLife)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun.Equal(begun) && !same(w.creds, kept) {
		return w.creds, nil // another call was first
	}
	w.begun, w.creds = begun, creds
	return creds, nil
}

type signingTimeKey struct{}

// backdater signs as of the time in the context: the SDK has no option for it.
type backdater struct{ *v4.Signer }

func (b backdater) PresignHTTP(
	ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, now time.Time, options ...func(*v4.SignerOptions),
) (string, http.Header, error) {
	if as, ok := ctx.Value(signingTimeKey{}).(time.Time); ok {
		now = as
	}
	return b.Signer.PresignHTTP(ctx, creds, r, payloadHash, service, region, now, options...)
}
