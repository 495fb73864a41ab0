package cdn

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options of a CDN that is purged by plain HTTP.
type Options struct {
	ID       string // the service at Fastly, the zone at Cloudflare
	Token    string // of its API
	Endpoint string // scheme and host; "": the CDN's own
	// Client sends the requests. Default: one that follows no redirect, since the token must not get to another host.
	Client *http.Client
}

func (o Options) withDefaults(endpoint string) Options {
	if o.Endpoint == "" {
		o.Endpoint = endpoint
	}
	o.Endpoint = strings.TrimRight(o.Endpoint, "/")
	if o.Client == nil {
		o.Client = &http.Client{
			Timeout:       20 * time.Second,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return o
}

// Fastly purges surrogate keys of a service. The token needs the scope purge_select. A request has 256 keys at most.
// https://www.fastly.com/documentation/reference/api/purging/
func Fastly(o Options) *Purger {
	o = o.withDefaults("https://api.fastly.com")
	return &Purger{Name: "fastly", batch: 256, send: func(ctx context.Context, _ string, tags []string, soft bool) error {
		header := http.Header{"Fastly-Key": {o.Token}}
		if soft {
			header["Fastly-Soft-Purge"] = []string{"1"}
		}
		_, err := o.post(ctx, "/service/"+url.PathEscape(o.ID)+"/purge", header, map[string][]string{"surrogate_keys": tags})
		return err
	}}
}

// Cloudflare purges cache tags of a zone. The token needs the permission Cache Purge. A request has 100 tags at most.
// https://developers.cloudflare.com/cache/how-to/purge-cache/
func Cloudflare(o Options) *Purger {
	o = o.withDefaults("https://api.cloudflare.com")
	return &Purger{Name: "cloudflare", batch: 100, send: func(ctx context.Context, _ string, tags []string, _ bool) error {
		header := http.Header{"Authorization": {"Bearer " + o.Token}}
		answer, err := o.post(ctx, "/client/v4/zones/"+url.PathEscape(o.ID)+"/purge_cache", header, map[string][]string{"tags": tags})
		if err != nil {
			return err
		}
		var said struct{ Success bool }
		if json.Unmarshal(answer, &said) != nil || !said.Success {
			return fmt.Errorf("it answered 200 without success%s", o.reason(answer))
		}
		return nil
	}}
}

// post sends one request and returns the body of a 200.
func (o *Options) post(ctx context.Context, path string, header http.Header, body any) ([]byte, error) {
	text, err := json.Marshal(body)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, o.Endpoint+path, bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	header["Content-Type"], header["Accept"] = []string{"application/json"}, []string{"application/json"}
	r.Header = header
	response, err := o.Client.Do(r)
	if err != nil {
		if failed, ok := errors.AsType[*url.Error](err); ok {
			err = failed.Err // without the URL, which is not news
		}
		return nil, &passingError{error: fmt.Errorf("it cannot be reached: %w", err)}
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	switch code := response.StatusCode; {
	case code == http.StatusTooManyRequests || code >= 500:
		return nil, &passingError{fmt.Errorf("it answered %d%s", code, o.reason(answer)), retryAfter(response.Header, time.Now())}
	case code != http.StatusOK:
		return nil, fmt.Errorf("it answered %d%s", code, o.reason(answer))
	case err != nil:
		return nil, &passingError{error: fmt.Errorf("its answer broke off: %w", err)}
	}
	return answer, nil
}

// reason is what an API says of a failure: Fastly in msg and detail, Cloudflare in errors.
func (o *Options) reason(answer []byte) string {
	var said struct {
		Msg, Detail string
		Errors      []struct {
			Code    int
			Message string
		}
	}
	if json.Unmarshal(answer, &said) != nil {
		return ""
	}
	texts := []string{said.Msg, said.Detail}
	for _, e := range said.Errors {
		texts = append(texts, fmt.Sprintf("%s (%d)", e.Message, e.Code))
	}
	var reason string
	for _, text := range texts {
		if text != "" {
			reason += ": " + text
		}
	}
	return sanitize(strings.ReplaceAll(reason, o.Token, "…"))
}

func sanitize(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "…"))
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "") + "…"
	}
	return text
}

// retryAfter reads Retry-After in seconds, or else Fastly's time at which its limit is reset.
func retryAfter(h http.Header, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(h.Get("Retry-After"), 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := strconv.ParseInt(h.Get("Fastly-RateLimit-Reset"), 10, 64); err == nil {
		return max(0, time.Unix(at, 0).Sub(now))
	}
	return 0
}
