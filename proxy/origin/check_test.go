package origin_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

func TestCheckTellsWhatWorks(t *testing.T) {
	for name, tc := range map[string]struct {
		changes []change
		prepare func(*world)
		want    func(origin.Report) bool
	}{
		"everything works": {nil, nil, func(r origin.Report) bool {
			return len(r.Faults) == 0 && r.Object == "base/0/0/0.png" && strings.HasPrefix(r.Missing, "404") &&
				r.Credentials == "AssumeRole "+roleARN && r.Identity == "arn:aws:sts::123456789012:assumed-role/tiles-reader/tilegate" &&
				time.Until(r.Expires) > 59*time.Minute
		}},
		"no ListBucket": {[]change{withoutList}, nil, func(r origin.Report) bool {
			return len(r.Faults) == 0 && strings.HasPrefix(r.Missing, "403") && strings.Contains(r.Missing, "two more requests")
		}},
		"no ListBucket and no asking": {[]change{withoutList, missingOn403(origin.Never)}, nil, func(r origin.Report) bool {
			return len(r.Faults) == 0 && strings.Contains(r.Missing, "502")
		}},
		"no tile at minzoom": {nil, func(w *world) { w.Delete("tiles", "base/0/0/0.png") }, func(r origin.Report) bool {
			return len(r.Faults) == 0 && r.Object == "base/1/0/1.png"
		}},
		"nothing at all": {nil, func(w *world) { w.Delete("tiles", "base/0/0/0.png"); w.Delete("tiles", "base/1/0/1.png") }, func(r origin.Report) bool {
			return len(r.Faults) == 1 && strings.Contains(r.Faults[0], "no object could be read")
		}},
		"nothing at all, and no ListBucket": {[]change{withoutList}, func(w *world) { w.Delete("tiles", "base/0/0/0.png") }, func(r origin.Report) bool {
			return len(r.Faults) == 1 && r.Missing == "" // it may be denied as well
		}},
		"no such bucket": {[]change{func(_ *fakeaws.Role, o *origin.Options) { o.Sources[0].Bucket = "nowhere" }}, nil, func(r origin.Report) bool {
			return len(r.Faults) > 0 && strings.Contains(r.Faults[0], "the bucket doesn't exist")
		}},
		"the role may not be assumed": {[]change{func(r *fakeaws.Role, _ *origin.Options) { r.TrustedUsers = nil }}, nil, func(r origin.Report) bool {
			return len(r.Faults) == 1 && strings.Contains(r.Faults[0], "trust policy")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				if tc.prepare != nil {
					tc.prepare(w)
				}
				reports := w.origin.Check(t.Context(), nil)
				if len(reports) != 1 || reports[0].Source != "base" || !tc.want(reports[0]) {
					t.Errorf("got %+v", reports)
				}
			}, tc.changes...)
		})
	}
}

// A session policy allows a file's one key. So S3 answers 403 for every other key, whatever the role may do.
func TestCheckOfAFile(t *testing.T) {
	for name, tc := range map[string]struct {
		key  string
		want origin.Report
	}{
		"there": {"2026/report.pdf", origin.Report{Source: "file:report", Object: "2026/report.pdf"}},
		"gone":  {"2026/report", origin.Report{Source: "file:report", Faults: []string{`no object could be read; 2026/report: 404 NoSuchKey`}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.Put("docs", "2026/report.pdf", fakeaws.Object{Body: []byte("%PDF")})
				got := w.origin.Check(t.Context(), nil)[0]
				if got.Source != tc.want.Source || got.Object != tc.want.Object || got.Missing != "" ||
					!strings.HasPrefix(strings.Join(got.Faults, "\n"), strings.Join(tc.want.Faults, "\n")) || len(got.Faults) != len(tc.want.Faults) {
					t.Errorf("got %+v, want %+v", got, tc.want)
				}
			}, func(_ *fakeaws.Role, o *origin.Options) {
				file := source("file:report", "docs", tc.key)
				file.Key = func(tile.Key) string { return tc.key }
				o.Sources = []origin.Source{file}
			})
		})
	}
}

func TestCheckCorrectsAWrongClock(t *testing.T) {
	for _, tc := range []struct {
		name string
		role origin.Role
	}{{"with a role", origin.Role{ARN: roleARN}}, {"without", origin.Role{}}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := startSkewed(t, 3*time.Hour, func(_ *fakeaws.Role, o *origin.Options) { o.Sources[0].Role = tc.role })
				if r := w.origin.Check(t.Context(), nil)[0]; len(r.Faults) > 0 || r.Object == "" {
					t.Errorf("got %+v", r)
				}
			})
		})
	}
}

// AWS's own STS does not know the users of another service, and is not asked.
func TestCheckOfAnotherServiceAsksNobodyElse(t *testing.T) {
	var mu sync.Mutex
	dialled := map[string]bool{}
	inBubble(t, func(t *testing.T, w *world) {
		if r := w.origin.Check(t.Context(), nil)[0]; len(r.Faults) > 0 || r.Identity != "" {
			t.Errorf("got %+v", r)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(dialled) != 1 || !dialled["localhost:80"] {
			t.Errorf("connected to %v", dialled)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		o.STSEndpoint = ""
		o.Sources[0].Role = origin.Role{}
		dial := o.Dial
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			mu.Lock()
			dialled[address] = true
			mu.Unlock()
			return dial(ctx, network, address)
		}
	})
}

// A credential_process or a machine's metadata may be slow. Background work waits for it.
func TestSlowBaseChainIsWaitedFor(t *testing.T) {
	for name, tc := range map[string]struct {
		answer func() (aws.Credentials, error)
		says   string // in the report's one fault
	}{
		"credentials": {func() (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAUSER", SecretAccessKey: "user-secret"}, nil
		}, ""},
		"none": {func() (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("set AWS_PROFILE")
		}, "default credential chain: set AWS_PROFILE"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				r := w.origin.Check(t.Context(), nil)[0]
				if len(r.Faults) > 0 != (tc.says != "") || !strings.Contains(strings.Join(r.Faults, "\n"), tc.says) {
					t.Errorf("got %+v", r)
				}
				if n := w.seen.count("refresh role tiles-reader false"); n > 0 != (tc.says != "") {
					t.Errorf("%d calls for the role failed", n)
				}
			}, func(_ *fakeaws.Role, o *origin.Options) {
				o.Base = func(context.Context) (aws.Credentials, error) {
					<-time.After(3 * time.Second)
					return tc.answer()
				}
			})
		})
	}
}

// Vend waits for the base credentials no longer than any other request.
func TestVendDoesNotWaitForASlowBaseChain(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		begun := time.Now()
		_, err := w.origin.Vend(t.Context(), "ada", []string{"base"}, time.Hour)
		if took := time.Since(begun); !errors.Is(err, tile.ErrNoCredentials) || took > 2*time.Second {
			t.Errorf("got %v after %s", err, took)
		}
	}, vending, func(_ *fakeaws.Role, o *origin.Options) {
		o.Base = func(context.Context) (aws.Credentials, error) {
			<-time.After(3 * time.Second)
			return static("AKIAUSER", "user-secret")(t.Context())
		}
	})
}

func TestCheckWaitsForASlowSTS(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Delay: 20 * time.Second})
		w.restart(t)
		if r := w.origin.Check(t.Context(), nil); len(r[0].Faults) != 0 {
			t.Errorf("got %+v", r)
		}
	})
}

// At start a source is asked for one byte, since a file may be large.
func TestOneByteIsReadAtStart(t *testing.T) {
	for name, size := range map[string]int{"large": 8 << 20, "empty": 0} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.stop()
				w.Put("docs", "report.pdf", fakeaws.Object{Body: make([]byte, size)})
				w.ResetRequests()
				dialled, observed := w.dialled.Load(), w.seen.all("request")
				w.restart(t)
				pass(time.Second)
				if lines := w.origin.NotReady(); len(lines) > 0 {
					t.Errorf("not ready: %q", lines)
				}
				if lines := w.origin.Degraded(); len(lines) > 0 {
					t.Errorf("degraded: %q", lines)
				}
				for _, r := range w.Requests() {
					if r.Op == "GetObject" && (r.Header.Get("Range") != "bytes=0-0" || r.Status == http.StatusOK) {
						t.Errorf("asked for %s with Range %q", r.Key, r.Header.Get("Range"))
					}
				}
				w.mustFetch(t)
				if n := w.dialled.Load() - dialled; n > 4 { // STS, and one for each source
					t.Errorf("%d connections", n)
				}
				if n := w.seen.all("request") - observed; n != 1 {
					t.Errorf("%d requests observed, want the tile's", n)
				}
			}, func(_ *fakeaws.Role, o *origin.Options) {
				o.Sources = append(o.Sources, origin.Source{
					ID: "file:report", Bucket: "docs", Prefix: "report.pdf", Role: o.Sources[0].Role,
					Key: func(tile.Key) string { return "report.pdf" },
				})
			})
		})
	}
}
