package origin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"tilegate/internal/tile"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// idlePerHost is as many connections as one tileset's gate lets through at once (see retry.go), so
// that a burst's connections survive it. The SDK's default keeps 10.
const idlePerHost = maxConcurrency

// maxErrorBody bounds an error document. The SDK reads it whole; S3's have a few hundred bytes.
const maxErrorBody = 64 << 10

var (
	// errStalled is what cancels a request whose body has stopped.
	errStalled = fmt.Errorf("%w: the body stopped", tile.ErrTimeout)
	// errDragged is what cancels one whose error document takes too long; its status tells enough.
	errDragged = fmt.Errorf("%w: the error document", tile.ErrTimeout)
	// errBroken is what cancels one that has met maxBroken kept connections.
	errBroken = errors.New("one kept connection after the other broke off without an answer")
)

// maxBroken is how many kept connections a request may meet. net/http sends a GET again whenever one breaks
// off without an answer, and there are hundreds: an S3 that resets them would get hundreds of requests for one.
const maxBroken = 2

// newHTTPClient returns a client in the SDK's own type, since only that takes AWS_CA_BUNDLE.
// firstByte bounds the wait for an answer's headers; 0: the context alone does.
func newHTTPClient(firstByte time.Duration, dial func(context.Context, string, string) (net.Conn, error)) *awshttp.BuildableClient {
	if dial == nil {
		dial = (&net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}).DialContext
	}
	return awshttp.NewBuildableClient().WithReadTimeout(0).WithTransportOptions(func(t *http.Transport) {
		t.DialContext = dial
		t.TLSHandshakeTimeout = 5 * time.Second
		t.ResponseHeaderTimeout = firstByte
		t.MaxIdleConns = 2 * idlePerHost
		t.MaxIdleConnsPerHost = idlePerHost
		t.IdleConnTimeout = time.Minute
		t.ForceAttemptHTTP2 = false // S3 speaks HTTP/1.1 alone
		t.DisableCompression = true // an object's gzip is ours to pass on as it is
		t.MaxResponseHeaderBytes = 64 << 10
	})
}

// httpClient is what the S3 client sends its requests with. It doesn't follow redirects: S3's 301
// names another region, which is the operator's to configure, and a signature holds for one host.
type httpClient struct {
	transport *http.Transport
	progress  time.Duration // the longest that a body may stay silent
	document  time.Duration // the longest that an error document may take
}

func (c *httpClient) Do(r *http.Request) (*http.Response, error) { return c.do(r.Context(), r) }

func (c *httpClient) do(ctx context.Context, r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	met := 0
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(conn httptrace.GotConnInfo) {
		if met++; met > maxBroken && conn.Reused {
			cancel(errBroken)
		}
	}})
	resp, err := c.transport.RoundTrip(r.WithContext(traced))
	if err != nil {
		if errors.Is(context.Cause(ctx), errBroken) {
			err = errBroken
			c.transport.CloseIdleConnections() // the others are no better
		}
		cancel(nil)
		return nil, err
	}
	body := &watchedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, progress: c.progress}
	if resp.StatusCode >= http.StatusMultipleChoices {
		body.ReadCloser = &shortBody{resp.Body, maxErrorBody}
		body.end = time.AfterFunc(c.document, func() { cancel(errDragged) })
	}
	resp.Body = body
	return resp, nil
}

// watchedBody fails with errStalled when a Read has waited for progress without a byte. Between
// reads it doesn't watch: a reader that takes its time is no fault of S3's.
type watchedBody struct {
	io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	progress time.Duration
	timer    *time.Timer
	end      *time.Timer // of an error document
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.timer == nil {
		b.timer = time.AfterFunc(b.progress, func() { b.cancel(errStalled) })
	} else {
		b.timer.Reset(b.progress)
	}
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader's EOF is never wrapped
		err = cmp.Or(context.Cause(b.ctx), err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	if b.timer != nil {
		b.timer.Stop()
	}
	if b.end != nil {
		b.end.Stop()
	}
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// shortBody is an error document, which fails beyond its bound; the SDK drains what it doesn't want.
type shortBody struct {
	io.ReadCloser
	left int
}

func (b *shortBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an error document of more than %d bytes", maxErrorBody)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
