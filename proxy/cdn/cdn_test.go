package cdn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/proxy/cdn"
)

const token = "a-token-of-an-api"

// standIn is an API in the test's hands, without a network, so that time can be virtual.
type standIn struct {
	answer  func(n int, r *http.Request, w http.ResponseWriter) // n counts from 1
	err     error
	at      []time.Duration // of each request, since the first
	begun   time.Time
	batches [][]string
	heads   []http.Header
	paths   []string
	refs    []string
}

func (s *standIn) RoundTrip(r *http.Request) (*http.Response, error) {
	if s.begun.IsZero() {
		s.begun = time.Now()
	}
	s.at = append(s.at, time.Since(s.begun).Round(time.Second))
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var asked struct {
		Tags []string `json:"tags"`
		Keys []string `json:"surrogate_keys"`
	}
	var batch struct {
		CallerReference string
		Paths           struct {
			Quantity int
			Items    struct{ Path []string }
		}
	}
	if bytes.HasPrefix(body, []byte("<")) {
		if err := xml.Unmarshal(body, &batch); err != nil || batch.Paths.Quantity != len(batch.Paths.Items.Path) {
			return nil, fmt.Errorf("%s: %w", body, err)
		}
		s.refs = append(s.refs, batch.CallerReference)
	} else if err := json.Unmarshal(body, &asked); err != nil {
		return nil, err
	}
	s.batches = append(s.batches, slices.Concat(asked.Tags, asked.Keys, batch.Paths.Items.Path))
	s.heads, s.paths = append(s.heads, r.Header), append(s.paths, r.Method+" "+r.URL.String())
	if s.err != nil {
		return nil, s.err
	}
	w := httptest.NewRecorder()
	s.answer(len(s.at), r, w)
	return w.Result(), nil
}

func (s *standIn) purgers() map[string]*cdn.Purger {
	client := &http.Client{Transport: s}
	return map[string]*cdn.Purger{
		"fastly":     cdn.Fastly(cdn.Options{ID: "SU1Z0isx", Token: token, Client: client}),
		"cloudflare": cdn.Cloudflare(cdn.Options{ID: "0123456789abcdef0123456789abcdef", Token: token, Client: client}),
		"cloudfront": cdn.CloudFront(cdn.CloudFrontOptions{Distribution: "E1A2B3C4D5", Client: client, Credentials: func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIDEXAMPLE", SecretAccessKey: token}, nil
		}}),
	}
}

func ok(_ int, r *http.Request, w http.ResponseWriter) {
	if strings.Contains(r.URL.Path, "invalidation") {
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `<Invalidation><Id>I1</Id></Invalidation>`)
		return
	}
	_, _ = io.WriteString(w, `{"success":true}`)
}

func tags(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("basemap.q%d", i)
	}
	return all
}

// each runs a test for every CDN in a bubble of virtual time.
func each(t *testing.T, test func(t *testing.T, s *standIn, p *cdn.Purger)) {
	t.Helper()
	for name := range (&standIn{}).purgers() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{answer: ok}
				test(t, s, s.purgers()[name])
			})
		})
	}
}

func TestPurgeInBatches(t *testing.T) {
	each(t, func(t *testing.T, s *standIn, p *cdn.Purger) {
		n, err := p.Purge(t.Context(), tags(300), false)
		if err != nil || n != 300 {
			t.Fatalf("purged %d, %v", n, err)
		}
		want := map[string][]int{"fastly": {256, 44}, "cloudflare": {100, 100, 100}, "cloudfront": {300}}[p.Name]
		var all []string
		for i, batch := range s.batches {
			if i >= len(want) || len(batch) != want[i] {
				t.Fatalf("got a batch of %d, want %v", len(batch), want)
			}
			for _, tag := range batch {
				all = append(all, strings.TrimPrefix(tag, "#"))
			}
		}
		if !slices.Equal(all, tags(300)) {
			t.Error("other tags were sent")
		}
		path := map[string]string{
			"fastly":     "POST https://api.fastly.com/service/SU1Z0isx/purge",
			"cloudflare": "POST https://api.cloudflare.com/client/v4/zones/0123456789abcdef0123456789abcdef/purge_cache",
			"cloudfront": "POST https://cloudfront.amazonaws.com/2020-05-31/distribution/E1A2B3C4D5/invalidation",
		}[p.Name]
		if s.paths[0] != path {
			t.Errorf("got %s, want %s", s.paths[0], path)
		}
		head := s.heads[0]
		switch p.Name {
		case "fastly":
			if head.Get("Fastly-Key") != token || head.Get("Fastly-Soft-Purge") != "" {
				t.Errorf("got %v", head)
			}
		case "cloudflare":
			if head.Get("Authorization") != "Bearer "+token {
				t.Errorf("got %v", head)
			}
		case "cloudfront":
			if !strings.HasPrefix(head.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(head.Get("Authorization"), "/us-east-1/cloudfront/aws4_request") || s.batches[0][0] != "#basemap.q0" {
				t.Errorf("got %v, %s", head, s.batches[0][0])
			}
		}
	})
}

func TestSoftPurgeAtFastly(t *testing.T) {
	s := &standIn{answer: ok}
	if _, err := s.purgers()["fastly"].Purge(t.Context(), tags(1), true); err != nil || s.heads[0].Get("Fastly-Soft-Purge") != "1" {
		t.Errorf("got %v, %v", s.heads, err)
	}
}

// refusals are those of each CDN for a status.
func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	w.WriteHeader(status)
	if strings.Contains(r.URL.Path, "invalidation") {
		_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>no %s</Message></Error></ErrorResponse>", code, code)
		return
	}
	_, _ = fmt.Fprintf(w, `{"success":false,"msg":"no %s","errors":[{"code":10000,"message":"%s\n%s"}]}`, code, code, token)
}

func TestPassingFailuresAreTriedAgain(t *testing.T) {
	each(t, func(t *testing.T, s *standIn, p *cdn.Purger) {
		s.answer = func(n int, r *http.Request, w http.ResponseWriter) {
			switch n {
			case 1:
				refuse(w, r, 503, "ServiceUnavailable")
			case 2:
				w.Header().Set("Retry-After", "7")
				refuse(w, r, 429, "Throttling")
			default:
				ok(n, r, w)
			}
		}
		n, err := p.Purge(t.Context(), tags(5), false)
		if err != nil || n != 5 || len(s.at) != 3 {
			t.Fatalf("purged %d, %v after %v", n, err, s.at)
		}
		if p.Name != "cloudfront" && s.at[2]-s.at[1] != 7*time.Second {
			t.Errorf("asked at %v, want the pause that was asked for", s.at)
		}
		if p.Name == "cloudfront" && (s.refs[0] == "" || s.refs[0] != s.refs[2]) {
			t.Errorf("got the references %q; want one, so that no invalidation is made twice", s.refs)
		}
	})
}

func TestAttemptsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, s *standIn, p *cdn.Purger) {
		s.answer = func(_ int, r *http.Request, w http.ResponseWriter) { refuse(w, r, 503, "ServiceUnavailable") }
		if n, err := p.Purge(t.Context(), tags(300), false); err == nil || n != 0 || len(s.at) != 3 {
			t.Errorf("purged %d, %v after %v; want three attempts of the first batch", n, err, s.at)
		}
	})
}

func TestPausesAreBounded(t *testing.T) {
	for name, header := range map[string][2]string{"Retry-After": {"Retry-After", "3600"}, "the reset of Fastly's limit": {"Fastly-RateLimit-Reset", "4102444800"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &standIn{answer: func(_ int, r *http.Request, w http.ResponseWriter) {
					w.Header().Set(header[0], header[1])
					refuse(w, r, 429, "TooMany")
				}}
				if _, err := s.purgers()["fastly"].Purge(t.Context(), tags(5), false); err == nil || len(s.at) != 1 || !strings.Contains(err.Error(), "too long to wait") {
					t.Errorf("got %v after %v; want no wait", err, s.at)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		s := &standIn{err: errors.New("connection refused")}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		if _, err := s.purgers()["fastly"].Purge(ctx, tags(5), false); err == nil || time.Since(begun) > time.Second {
			t.Errorf("got %v after %s, with a second", err, time.Since(begun))
		}
	})
}

// Refusals are told, and not tried again; no error holds the token, whatever the CDN writes.
func TestRefusalsAreToldWithoutTheToken(t *testing.T) {
	each(t, func(t *testing.T, s *standIn, p *cdn.Purger) {
		for _, answer := range []func(n int, r *http.Request, w http.ResponseWriter){
			func(_ int, r *http.Request, w http.ResponseWriter) { refuse(w, r, 403, "AccessDenied") },
			func(_ int, r *http.Request, w http.ResponseWriter) { refuse(w, r, 404, "NoSuchDistribution") },
			func(_ int, _ *http.Request, w http.ResponseWriter) {
				w.Header().Set("Location", "https://elsewhere.example/")
				w.WriteHeader(http.StatusTemporaryRedirect)
			},
		} {
			*s = standIn{answer: answer}
			client := http.Client{Transport: s, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			purger := p
			switch p.Name {
			case "fastly":
				purger = cdn.Fastly(cdn.Options{ID: "x", Token: token, Client: &client})
			case "cloudflare":
				purger = cdn.Cloudflare(cdn.Options{ID: "x", Token: token, Client: &client})
			}
			_, err := purger.Purge(t.Context(), tags(5), false)
			if err == nil || strings.Contains(err.Error(), token) || strings.Contains(err.Error(), "\n") || len(err.Error()) > 400 {
				t.Errorf("got %v", err)
			}
			if s.paths[0] == "" || strings.Contains(strings.Join(s.paths, " "), "elsewhere.example") && p.Name != "cloudfront" {
				t.Errorf("asked %q", s.paths)
			}
		}
	})
	s := &standIn{answer: func(_ int, r *http.Request, w http.ResponseWriter) { refuse(w, r, 200, "Forbidden") }}
	if n, err := s.purgers()["cloudflare"].Purge(t.Context(), tags(5), false); err == nil || n != 0 || len(s.at) != 1 || strings.Contains(err.Error(), token) {
		t.Errorf("200 without success: purged %d, %v after %d requests", n, err, len(s.at))
	}
}

// The token must not follow a redirect to another host: the default clients follow none.
func TestRedirectsAreNotFollowed(t *testing.T) {
	stolen := make(chan struct{}, 10)
	thief := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { stolen <- struct{}{} }))
	defer thief.Close()
	api := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer api.Close()
	for _, p := range []*cdn.Purger{
		cdn.Fastly(cdn.Options{ID: "x", Token: token, Endpoint: api.URL}),
		cdn.Cloudflare(cdn.Options{ID: "x", Token: token, Endpoint: api.URL + "/"}),
	} {
		if _, err := p.Purge(t.Context(), tags(1), false); err == nil || !strings.Contains(err.Error(), "307") {
			t.Errorf("%s: got %v", p.Name, err)
		}
	}
	if len(stolen) > 0 {
		t.Error("a redirect was followed")
	}
}
