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
	"net/url"
	"time"

	"tilegate/internal/tile"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

const (
	// idlePerHost is the number of connections to a host that stay open without a request. It equals what
	// one source's gate lets through, so that the connections of a burst serve the next one. The SDK's
	// default is 10.
	idlePerHost = maxConcurrency
	// maxErrorBody bounds an error document. S3's have a few hundred bytes; the SDK reads them whole.
	maxErrorBody = 64 << 10
	// maxBroken is how many kept connections a request may try. net/http sends a GET again whenever a kept
	// connection breaks off without an answer. There are hundreds of them, so an S3 that resets them would
	// get hundreds of requests for one.
	maxBroken = 2
)

// The causes with which a request is cancelled.
var (
	errStalled      = fmt.Errorf("%w: the body stopped", tile.ErrTimeout)
	errSlowDocument = fmt.Errorf("%w: the error document", tile.ErrTimeout) // the status tells enough without it
	errBroken       = errors.New("one kept connection after the other broke off without an answer")
)

// newHTTPClient returns a client of the SDK's own type, since only that one supports AWS_CA_BUNDLE. firstByte
// bounds the wait for an answer's headers.
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
		t.DisableCompression = true // objects that are stored gzipped are passed on as they are
		t.MaxResponseHeaderBytes = 64 << 10
		t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, answer *http.Response) error {
			if answer.StatusCode != http.StatusOK {
				return &proxyError{proxy.Host, answer.StatusCode}
			}
			return nil
		}
	})
}

// proxyError says that an HTTP proxy does not connect to S3.
type proxyError struct {
	host   string
	status int
}

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy %s answered %d", e.host, e.status)
}

// httpClient sends requests to S3 or STS. It follows no redirects: a signature holds for one host, and S3's
// 301 names another region, which endpoint.go learns.
type httpClient struct {
	transport *http.Transport
	progress  time.Duration // longest wait for the next byte of a body
	document  time.Duration // longest time for a whole error document
}

// Do makes httpClient the SDK's HTTPClient.
func (c *httpClient) Do(r *http.Request) (*http.Response, error) { return c.do(r.Context(), r) }

func (c *httpClient) do(ctx context.Context, r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	connections := 0
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(conn httptrace.GotConnInfo) {
		if connections++; connections > maxBroken && conn.Reused {
			cancel(errBroken)
		}
	}})
	resp, err := c.transport.RoundTrip(r.WithContext(traced))
	if err != nil {
		if errors.Is(context.Cause(ctx), errBroken) {
			err = errBroken
			c.transport.CloseIdleConnections() // the others are likely broken, too
		}
		cancel(nil)
		return nil, err
	}
	body := &watchedBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, progress: c.progress}
	if resp.StatusCode >= http.StatusMultipleChoices {
		body.ReadCloser = &boundedBody{resp.Body, maxErrorBody}
		body.document = time.AfterFunc(c.document, func() { cancel(errSlowDocument) })
	}
	resp.Body = body
	return resp, nil
}

// watchedBody fails with errStalled when a Read has waited for progress without a byte. It does not watch
// between two reads: a slow reader is no fault of S3.
type watchedBody struct {
	io.ReadCloser
	ctx      context.Context
	cancel   context.CancelCauseFunc
	progress time.Duration
	stall    *time.Timer // runs during a Read
	document *time.Timer // of an error document, else nil
}

func (b *watchedBody) Read(p []byte) (int, error) {
	if b.stall == nil {
		b.stall = time.AfterFunc(b.progress, func() { b.cancel(errStalled) })
	} else {
		b.stall.Reset(b.progress)
	}
	n, err := b.ReadCloser.Read(p)
	b.stall.Stop()
	if err != nil && err != io.EOF { //nolint:errorlint // a Reader's EOF is never wrapped
		err = cmp.Or(context.Cause(b.ctx), err)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	if b.stall != nil {
		b.stall.Stop()
	}
	if b.document != nil {
		b.document.Stop()
	}
	err := b.ReadCloser.Close()
	b.cancel(nil)
	return err
}

// boundedBody fails beyond a number of bytes. It bounds error documents, which the SDK reads whole.
type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an error document of more than %d bytes", maxErrorBody)
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
