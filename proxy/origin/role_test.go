package origin_test

import (
	"bytes"
	"context"
	"crypto"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/fakeaws"
	"tilegate/internal/issuer"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

func TestWebIdentityTokenIsReadAnewEachTime(t *testing.T) {
	iss, err := issuer.New(issuer.Options{URL: "https://oidc.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	var keys map[string]crypto.PublicKey
	if keys, err = iss.Keys(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "token")
	var written string
	write := func(t *testing.T, life time.Duration) {
		t.Helper()
		now := time.Now()
		if written, err = iss.Token("RS256", map[string]any{"sub": "tilegate", "aud": "sts.amazonaws.com", "iat": now.Unix(), "exp": now.Add(life).Unix()}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(written), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inBubble(t, func(t *testing.T, w *world) {
		if text := w.mustFail(t, tile.ErrNoCredentials); !strings.Contains(text, "web_identity_token_file") {
			t.Errorf("without the file: %q", text)
		}
		write(t, 10*time.Minute)
		pass(time.Minute)
		w.mustFetch(t)
		pass(50 * time.Minute) // the refresh meets an expired token
		w.mustFetch(t)
		lines := strings.Join(w.origin.Degraded(), "\n")
		if !strings.Contains(lines, "refresh failing, ") {
			t.Errorf("degraded: %q", lines)
		}
		if strings.Contains(w.log.String(), written) || !strings.Contains(w.log.String(), "web identity token has expired") {
			t.Errorf("logged: %s", w.log.String())
		}
		write(t, 24*time.Hour)
		pass(time.Hour)
		w.mustFetch(t)
		if lines := w.origin.Degraded(); len(lines) > 0 {
			t.Errorf("degraded: %q", lines)
		}
		if w.assumed() != 0 {
			t.Error("AssumeRole was called")
		}
	}, func(r *fakeaws.Role, o *origin.Options) {
		r.WebIdentity = &fakeaws.WebIdentity{Issuer: "https://oidc.example.com", Audience: "sts.amazonaws.com", Keys: keys}
		o.Base = func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("nobody should ask for these")
		}
		o.Sources[0].Role = origin.Role{ARN: roleARN, WebIdentityTokenFile: path, ScopeDown: true}
	})
}

// A hint is about the call that failed. Hints about S3, or about the other call of STS, would mislead.
func TestHintsFitTheCall(t *testing.T) {
	const assume, web = "AssumeRole", "AssumeRoleWithWebIdentity"
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte("token"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		call           string
		status         int
		code, says, no string
	}{
		{assume, 403, "AccessDenied", "external_id", "identity provider"},
		{web, 403, "AccessDenied", "identity provider", "external_id"},
		{assume, 400, "ExpiredTokenException", "base credentials have expired", "web identity"},
		{web, 400, "ExpiredTokenException", "web identity token has expired", "base credentials"},
		{assume, 400, "Throttling", "", "cache.fresh"},
		{web, 503, "ServiceUnavailable", "", "cache.fresh"},
		{assume, 403, "Whatever", "", "S3"},
		{assume, 400, "ExpiredToken", "base credentials have expired", "new ones"},
	} {
		t.Run(tc.call+" "+tc.code, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.Inject(fakeaws.Fault{Op: tc.call, Status: tc.status, Code: tc.code})
				w.restart(t)
				text := w.mustFail(t, tile.ErrNoCredentials)
				if !strings.Contains(text, tc.code) || !strings.Contains(text, tc.says) || strings.Contains(text, tc.no) {
					t.Errorf("got %q, want it to say %q and not %q", text, tc.says, tc.no)
				}
			}, func(_ *fakeaws.Role, o *origin.Options) {
				if tc.call == web {
					o.Sources[0].Role.WebIdentityTokenFile = path
				}
			})
		})
	}
}

func TestNoSuchSTS(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		if text := w.mustFail(t, tile.ErrNoCredentials); !strings.Contains(text, "look at aws.region and aws.sts_endpoint") {
			t.Errorf("got %q", text)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		dial := o.Dial
		o.STSEndpoint = "http://sts.nowhere.example"
		o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "sts.") {
				return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}}
			}
			return dial(ctx, network, address)
		}
	})
}

// A token file alone is no role. Sources without an ARN use the base credentials.
func TestNoARNIsNoRole(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		if c := w.origin.Credentials(); len(c) != 1 || c[0].Name != "default credential chain" || !c[0].Valid {
			t.Errorf("got %+v", c)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		o.Sources[0].Role = origin.Role{WebIdentityTokenFile: filepath.Join(t.TempDir(), "none"), ScopeDown: true}
	})
}

// withoutAWS clears the AWS settings of this machine.
func withoutAWS(t *testing.T) {
	t.Helper()
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
		}
	}
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestStandardVariablesAndFilesMeanWhatTheyAlwaysMean(t *testing.T) {
	w := start(t, nil)
	for name, set := range map[string]func(t *testing.T){
		"environment": func(t *testing.T) {
			t.Setenv("AWS_ACCESS_KEY_ID", "AKIAUSER")
			t.Setenv("AWS_SECRET_ACCESS_KEY", "user-secret")
			t.Setenv("AWS_REGION", "us-east-1")
		},
		"profile": func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			if err := os.WriteFile(path, []byte("[profile maps]\nregion = us-east-1\naws_access_key_id = AKIAUSER\naws_secret_access_key = user-secret\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", path)
			t.Setenv("AWS_PROFILE", "maps")
		},
		"credential_process": func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "config")
			command := `echo '{"Version":1,"AccessKeyId":"AKIAUSER","SecretAccessKey":"user-secret"}'`
			if err := os.WriteFile(path, []byte("[default]\nregion = us-east-1\ncredential_process = "+command+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			withoutAWS(t)
			set(t)
			t.Setenv("AWS_ENDPOINT_URL_S3", w.URL())
			a := open(t, origin.Options{Store: origin.Store{PathStyle: true}, Sources: []origin.Source{{ID: "base", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/")}}})
			if _, body, err := read(a.Source("base").Fetch(t.Context(), tile101, tile.Condition{})); err != nil || !bytes.Equal(body, content(1)) {
				t.Errorf("got %d bytes, error %v", len(body), err)
			}
		})
	}
}

func TestNoCredentialsAnywhere(t *testing.T) {
	withoutAWS(t)
	a := open(t, origin.Options{Store: origin.Store{Region: "eu-central-1"}, Sources: []origin.Source{{ID: "base", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/")}}})
	_, err := a.Source("base").Fetch(t.Context(), tile101, tile.Condition{})
	if !errors.Is(err, tile.ErrNoCredentials) || !strings.Contains(err.Error(), "set AWS_ACCESS_KEY_ID") {
		t.Errorf("got %v", err)
	}
	if lines := strings.Join(a.NotReady(), "\n"); !strings.Contains(lines, "default credential chain") {
		t.Errorf("not ready: %q", lines)
	}
}
