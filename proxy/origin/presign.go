package origin

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// minURLLife is the shortest life of a presigned URL.
const minURLLife = 20 * time.Second

// urlWindow keeps what the URLs of one source are signed with. So a refresh of the credentials does not change
// a URL that browsers and CDNs have in their caches.
type urlWindow struct {
	mu   sync.Mutex
	kept signature
}

// signature is what a URL is signed with.
type signature struct {
	begun, expires time.Time // by S3's clock; begun is the time in the signature
	creds          credentials
}

// Presign makes a URL that gets the object straight from S3. Within Options.PresignWindow every call returns
// the same URL. In an anonymous store it is the object's plain URL. Its error is tile.ErrNoCredentials, also where the credentials expire within 20 s.
func (s *S3) Presign(ctx context.Context, key tile.Key) (tile.Signed, error) {
	if s.store.Anonymous {
		return tile.Signed{URL: s.endpoint.Load().object(s.Key(key)).String(), Expires: time.Now().Add(s.aws.opt.PresignExpires), Constant: s.aws.opt.PresignWindow}, nil
	}
	sig, err := s.signature(ctx)
	if err != nil {
		return tile.Signed{}, err
	}
	skew := s.store.clockSkew()
	constant := sig.begun.Add(s.aws.opt.PresignWindow)
	if sig.creds.CanExpire {
		constant = earlier(constant, sig.creds.Expires.Add(skew-minURLLife)) // other credentials are used from then on
	}
	if sig.creds.rejected() {
		constant = sig.begun // other credentials are used as soon as there are some
	}
	name := s.Key(key)
	request, err := s.store.presign.PresignGetObject(
		context.WithValue(withCredentials(ctx, sig.creds.Credentials), signingTimeKey{}, sig.begun),
		&s3.GetObjectInput{Bucket: &s.Bucket, Key: &name},
		s3.WithPresignExpires(sig.expires.Sub(sig.begun)),
		func(o *s3.PresignOptions) {
			o.ClientOptions = append(o.ClientOptions, func(o *s3.Options) { o.Region = s.endpoint.Load().region })
		})
	if err != nil {
		return tile.Signed{}, fmt.Errorf("presign s3://%s/%s: %w", s.Bucket, name, rootCause(err))
	}
	return tile.Signed{URL: request.URL, Expires: sig.expires.Add(-skew), Constant: max(0, time.Until(constant.Add(-skew)))}, nil
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// signature returns the signature of the current window, which its first call made. It makes another one when
// the credentials expire soon or have been rejected.
func (s *S3) signature(ctx context.Context) (signature, error) {
	w := &s.urls
	w.mu.Lock()
	sig, good := w.current(s.store)
	w.mu.Unlock()
	if good {
		return sig, nil
	}
	creds, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return sig, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if sig, good = w.current(s.store); good { // another call was faster
		return sig, nil
	}
	if sig.creds = creds; !livesForURL(creds) {
		return sig, fmt.Errorf("%w: those held live less than %s", tile.ErrNoCredentials, minURLLife)
	}
	sig.expires = sig.begun.Add(s.aws.opt.PresignExpires)
	if creds.CanExpire {
		sig.expires = earlier(sig.expires, creds.Expires.Add(s.store.clockSkew()).Truncate(time.Second))
	}
	if !creds.rejected() {
		w.kept = sig
	}
	return sig, nil
}

// current returns the signature of the current window, and reports whether its credentials may still be used.
// The caller holds the lock.
func (w *urlWindow) current(st *store) (sig signature, good bool) {
	sig = w.kept
	sig.begun = time.Now().Add(st.clockSkew()).Truncate(st.aws.opt.PresignWindow)
	return sig, sig.begun.Equal(w.kept.begun) && livesForURL(sig.creds) && !sig.creds.rejected()
}

// livesForURL reports whether the credentials live long enough for a URL: it dies with them.
func livesForURL(c credentials) bool {
	return c.HasKeys() && (!c.CanExpire || time.Until(c.Expires) >= minURLLife)
}

type signingTimeKey struct{}

// backdater signs with the time in the context. The SDK has no option for that.
type backdater struct {
	*v4.Signer
	payer bool // the URL says that the requester pays
}

func (b backdater) PresignHTTP(
	ctx context.Context, creds aws.Credentials, r *http.Request, payloadHash, service, region string, now time.Time, options ...func(*v4.SignerOptions),
) (string, http.Header, error) {
	if as, ok := ctx.Value(signingTimeKey{}).(time.Time); ok {
		now = as
	}
	if b.payer {
		// A header would have to be sent by whoever uses the URL. The SDK leaves it there.
		r.Header.Del("X-Amz-Request-Payer")
		query := r.URL.Query()
		query.Set("x-amz-request-payer", "requester")
		r.URL.RawQuery = query.Encode()
	}
	return b.Signer.PresignHTTP(ctx, creds, r, payloadHash, service, region, now, options...)
}
