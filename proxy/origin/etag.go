package origin

import (
	"bytes"
	"context"
	"crypto/fips140"
	"crypto/md5" //nolint:gosec // S3's ETag; it guards against faults, not against forgers
	"encoding/hex"
	"io"
	"net/http"
	"strings"
)

// For an object that was uploaded in one part and not encrypted with a key of the customer, the ETag is the MD5
// of the body. So a body without a checksum can be verified all the same.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
//
// Other services, and some copies, have ETags that look like an MD5 and are none. Nothing in an answer tells them apart.
// So a body whose MD5 is not its ETag is only suspect: the object is read a second time before judgeMismatch
// decides. A store whose ETags are no MD5s never causes an error, and costs one more request once.

// maxVerified is the largest object whose MD5 is compared with its ETag, since a mismatch reads it again. Where the
// answer tells no length, a longer body counts as one that cannot be read again.
const maxVerified = 64 << 20

// etagMeaning is what the ETags of a source have turned out to be.
type etagMeaning = uint32

const (
	etagUnknown etagMeaning = iota // no ETag has been compared yet
	etagIsMD5                      // at least one was the MD5 of its body
	etagIsOther                    // at least one was not, so none is compared any more
)

// md5Of returns the MD5 that the ETag of a whole object should be, nil where it is known to be something else.
func (s *S3) md5Of(resp *http.Response) []byte {
	if resp.ContentLength > maxVerified || s.etags.Load() == etagIsOther || fips140.Enforced() {
		return nil
	}
	for name := range resp.Header {
		if strings.HasPrefix(name, "X-Amz-Checksum-") || strings.HasPrefix(name, "X-Amz-Server-Side-Encryption-Customer-") {
			return nil // S3 has a checksum of its own; or SSE-C
		}
	}
	switch resp.Header.Get("X-Amz-Server-Side-Encryption") {
	case "", "AES256":
	default:
		return nil // SSE-KMS and its like
	}
	etag := etagOf(resp.Header)
	if len(etag) != 2*md5.Size+2 || strings.HasPrefix(etag, "W/") || strings.ToLower(etag) != etag {
		return nil // with a hyphen: a multipart upload's
	}
	sum, err := hex.DecodeString(etag[1 : len(etag)-1])
	if err != nil {
		return nil
	}
	return sum
}

// judgeMismatch decides about a body whose MD5 is got while its ETag says want. It returns nil where the body
// may be used. Within the retry budget it reads the object a second time:
//   - The same bytes again: the ETag is no MD5. The source's ETags are not compared any more.
//   - The bytes of the ETag: the first body was damaged on its way.
//   - Anything else decides nothing. Then the body is refused where an ETag of the source was an MD5 before.
func (s *S3) judgeMismatch(ctx context.Context, name string, got, want []byte) *fault {
	again := s.readMD5(ctx, name)
	switch {
	case bytes.Equal(again, got):
		if s.etags.Swap(etagIsOther) != etagIsOther {
			s.aws.opt.Logger.Info("ETags are not MD5s: bodies without a checksum cannot be verified", "source", s.ID)
		}
		return nil
	case !bytes.Equal(again, want) && s.etags.Load() != etagIsMD5:
		return nil
	}
	return badAnswer("the body's MD5 is not its ETag: it was damaged on its way")
}

// readMD5 reads an object and returns its MD5, nil where it cannot be read. It bypasses the gate, as it belongs
// to a request whose answer is being read.
func (s *S3) readMD5(ctx context.Context, name string) []byte {
	if !s.retries.spend() {
		return nil
	}
	creds, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return nil
	}
	s.aws.opt.Observe.Retry(s.ID)
	resp, f := s.send(ctx, request{name: name, creds: creds})
	if f != nil {
		return nil
	}
	defer func() { _ = resp.Body.Close() }()
	sum := md5.New() //nolint:gosec // see above
	if n, err := io.Copy(sum, io.LimitReader(resp.Body, maxVerified+1)); err != nil || n > maxVerified || resp.StatusCode != http.StatusOK {
		return nil
	}
	return sum.Sum(nil)
}
