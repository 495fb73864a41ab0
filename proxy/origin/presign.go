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

// minPresignLife is the shortest life of a URL that is handed out.
const minPresignLife = 20 * time.Second

// window keeps what the URLs of one source are signed with, so that a refresh of the credentials doesn't
// change a URL which browsers and CDNs have under its old name.
type window struct {
	mu   sync.Mutex
	kept signature
}

// signature is what a URL is signed with.
type signature struct {
	begun, expires time.Time // by S3's clock; it is signed as of begun
	creds          credentials
}

// Presign makes a URL that gets the object straight from S3. Within Options.PresignWindow it is
// the same on every call. Errors: tile.ErrNoCredentials, also when those held live less than 20 s.
func (s *S3) Presign(ctx context.Context, key tile.Key) (tile.Signed, error) {
	sig, err := s.signature(ctx)
	if err != nil {
		return tile.Signed{}, err
	}
	skew := s.aws.clockSkew()
	constant := sig.begun.Add(s.aws.opt.PresignWindow)
	if sig.creds.CanExpire {
		constant = earlier(constant, sig.creds.Expires.Add(skew-minPresignLife)) // others are used from then on
	}
	if sig.creds.refused() {
		constant = sig.begun // as soon as there are others
	}
	name := s.Key(key)
	request, err := s.aws.presign.PresignGetObject(
		context.WithValue(signWith(ctx, sig.creds.Credentials), signingTimeKey{}, sig.begun),
		&s3.GetObjectInput{Bucket: &s.Bucket, Key: &name},
		s3.WithPresignExpires(sig.expires.Sub(sig.begun)))
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

// signature returns the window's: that of its first call, as long as its credentials live and are not refused.
func (s *S3) signature(ctx context.Context) (signature, error) {
	w := &s.window
	w.mu.Lock()
	sig, good := w.now(s.aws)
	w.mu.Unlock()
	if good {
		return sig, nil
	}
	creds, err := s.keeper.Retrieve(ctx)
	if err != nil {
		return sig, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if sig, good = w.now(s.aws); good { // another call was first, or the window has changed meanwhile
		return sig, nil
	}
	if sig.creds = creds; !s.aws.lives(creds) {
		return sig, fmt.Errorf("%w: those held live less than %s", tile.ErrNoCredentials, minPresignLife)
	}
	sig.expires = sig.begun.Add(s.aws.opt.PresignExpires)
	if creds.CanExpire {
		sig.expires = earlier(sig.expires, creds.Expires.Add(s.aws.clockSkew()).Truncate(time.Second))
	}
	if !creds.refused() {
		w.kept = sig
	}
	return sig, nil
}

// now is the signature of this moment's window, and whether its credentials are good. It is called with the lock held.
func (w *window) now(a *AWS) (sig signature, good bool) {
	sig = w.kept
	sig.begun = time.Now().Add(a.clockSkew()).Truncate(a.opt.PresignWindow)
	return sig, sig.begun.Equal(w.kept.begun) && a.lives(sig.creds) && !sig.creds.refused()
}

// lives reports whether a URL signed with them does.
func (a *AWS) lives(c credentials) bool {
	return c.HasKeys() && (!c.CanExpire || time.Until(c.Expires) >= minPresignLife)
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
