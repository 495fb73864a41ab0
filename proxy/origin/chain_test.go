package origin_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// chained makes a store read the default chain.
func chained(_ *fakeaws.Role, o *origin.Options) {
	o.Base = nil
	o.Sources[0].Role = origin.Role{}
}

// Container credentials live until the expiry that the endpoint states. The SDK tells one that is five minutes earlier.
func TestContainerCredentialsLiveToTheirTrueExpiry(t *testing.T) {
	expires := time.Now().Add(240 * time.Second).Truncate(time.Second)
	var down atomic.Bool
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		_, _ = fmt.Fprintf(w, `{"AccessKeyId":"AKIAUSER","SecretAccessKey":"user-secret","Expiration":%q}`, expires.UTC().Format(time.RFC3339))
	}))
	defer endpoint.Close()
	withoutAWS(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint.URL)
	w := start(t, nil, chained)
	w.mustFetch(t)
	down.Store(true)
	w.mustFetch(t)
	if c := w.origin.Credentials()[0]; !c.Valid || !c.Expires.Equal(expires) {
		t.Errorf("got %+v, want them to expire at %s", c, expires)
	}
}

// An instance's credentials that have expired are used while the metadata service has no newer ones.
func TestExpiredCredentialsOfAnInstanceAreUsed(t *testing.T) {
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
			_, _ = w.Write([]byte("token"))
		case "/latest/meta-data/iam/security-credentials/":
			_, _ = w.Write([]byte("tiles"))
		default:
			_ = json.NewEncoder(w).Encode(map[string]string{
				"Code": "Success", "AccessKeyId": "AKIAUSER", "SecretAccessKey": "user-secret",
				"Expiration": time.Now().Add(-time.Hour).UTC().Format(time.RFC3339),
			})
		}
	}))
	defer metadata.Close()
	withoutAWS(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", metadata.URL)
	w := start(t, nil, chained)
	w.mustFetch(t)
	if c := w.origin.Credentials()[0]; !c.Valid || time.Until(c.Expires) > 15*time.Minute {
		t.Errorf("got %+v", c)
	}
}

// They are also used while the metadata service does not answer at all.
func TestCredentialsOfAnInstanceOutliveItsMetadataService(t *testing.T) {
	var down atomic.Bool
	inBubble(t, func(t *testing.T, w *world) {
		w.mustFetch(t)
		down.Store(true)
		for range 3 * 60 {
			pass(time.Minute)
			w.mustFetch(t)
		}
		if lines := strings.Join(w.origin.Degraded(), "\n"); !strings.Contains(lines, "refresh failing") {
			t.Errorf("degraded: %q", lines)
		}
	}, chained, func(_ *fakeaws.Role, o *origin.Options) {
		o.Base = func(ctx context.Context) (aws.Credentials, error) {
			if down.Load() {
				return aws.Credentials{}, errors.New("no answer")
			}
			c, err := static("AKIAUSER", "user-secret")(ctx)
			c.Source, c.CanExpire, c.Expires = "EC2RoleProvider", true, time.Now().Add(time.Hour)
			return c, err
		}
	})
}

// sts_endpoint holds for the web identity token that the default chain finds.
func TestTheChainsWebIdentityTokenGoesToTheConfiguredSTS(t *testing.T) {
	iss, address := tokenIssuer(t)
	keys, err := iss.Keys()
	if err != nil {
		t.Fatal(err)
	}
	withoutAWS(t)
	t.Setenv("AWS_ROLE_ARN", roleARN)
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", tokenFile(t, iss))
	w := start(t, nil, chained, func(r *fakeaws.Role, _ *origin.Options) {
		r.WebIdentity = &fakeaws.WebIdentity{Issuer: address, Audience: "tiles", Keys: keys}
	})
	w.mustFetch(t)
	if n := w.Count("AssumeRoleWithWebIdentity", "", ""); n != 1 {
		t.Errorf("%d calls", n)
	}
}

// The log names the cause, and what to do.
func TestWhyTheChainHasNoCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		config string
		says   []string
	}{
		"logged out of SSO": {
			"[profile maps]\nregion = us-east-1\nsso_session = work\nsso_account_id = 123456789012\nsso_role_name = tiles\n[sso-session work]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n",
			[]string{"aws sso login --profile maps", "no such file"},
		},
		"logged out of SSO, the older way": {
			"[profile maps]\nregion = us-east-1\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\nsso_account_id = 123456789012\nsso_role_name = tiles\n",
			[]string{"aws sso login --profile maps"},
		},
		"credential_process": {
			"[profile maps]\nregion = us-east-1\ncredential_process = sh -c \"echo the vault is sealed >&2; echo second line >&2; exit 3\"\n",
			[]string{"exit status 3", "the vault is sealed", "credential_process of profile maps"},
		},
		"credential_process of a source_profile": {
			"[profile maps]\nregion = us-east-1\nrole_arn = " + roleARN + "\nsource_profile = vault\n[profile vault]\n" +
				"credential_process = sh -c \"echo the vault is sealed >&2; echo second line >&2; exit 3\"\n",
			[]string{"exit status 3", "the vault is sealed", "credential_process of profile vault"},
		},
		"credential_process behind two roles": {
			"[profile maps]\nregion = us-east-1\nrole_arn = " + roleARN + "\nsource_profile = hop\n[profile hop]\nrole_arn = " + roleARN +
				"\nsource_profile = vault\n[profile vault]\ncredential_process = sh -c \"echo the vault is sealed >&2; exit 3\"\n",
			[]string{"the vault is sealed", "credential_process of profile vault"},
		},
		"nothing at all": {"[profile maps]\nregion = us-east-1\n", []string{"set AWS_ACCESS_KEY_ID", "anonymous: true"}},
	} {
		t.Run(name, func(t *testing.T) {
			withoutAWS(t)
			home := t.TempDir()
			path := filepath.Join(home, "config")
			if err := os.WriteFile(path, []byte(tc.config), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("HOME", home)
			t.Setenv("AWS_CONFIG_FILE", path)
			t.Setenv("AWS_PROFILE", "maps")
			w := start(t, nil, chained)
			_, err := w.tiles.Fetch(t.Context(), tile101, tile.Condition{})
			if !errors.Is(err, tile.ErrNoCredentials) {
				t.Fatalf("got %v", err)
			}
			for _, says := range tc.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("got %q, want it to say %q", err, says)
				}
			}
			if strings.Contains(err.Error(), "second line") {
				t.Errorf("got %q", err)
			}
		})
	}
}

// sts_endpoint holds for the role of a profile, too, whatever its source_profile takes its credentials from.
func TestAProfilesRoleIsAssumedAtTheConfiguredSTS(t *testing.T) {
	for name, source := range map[string]string{
		"keys":    "aws_access_key_id = AKIAUSER\naws_secret_access_key = user-secret\n",
		"process": `credential_process = sh -c "echo '{\"Version\":1,\"AccessKeyId\":\"AKIAUSER\",\"SecretAccessKey\":\"user-secret\"}'"` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			withoutAWS(t)
			path := filepath.Join(t.TempDir(), "config")
			profiles := "[profile maps]\nregion = us-east-1\nrole_arn = " + roleARN + "\nsource_profile = users\n[profile users]\n" + source
			if err := os.WriteFile(path, []byte(profiles), 0o600); err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_CONFIG_FILE", path)
			t.Setenv("AWS_PROFILE", "maps")
			w := start(t, nil, chained)
			w.mustFetch(t)
			if n := w.assumed(); n != 1 {
				t.Errorf("%d calls of AssumeRole", n)
			}
		})
	}
}

// In a container the answer of the instance's metadata service ends one hop too early, and nothing arrives.
func TestMetadataBeyondTheHopLimit(t *testing.T) {
	silent := silentServer(t)
	withoutAWS(t)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "false")
	t.Setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", silent)
	wantHint(t, "http-put-response-hop-limit")
}

func TestASilentContainerCredentialsEndpoint(t *testing.T) {
	silent := silentServer(t)
	withoutAWS(t)
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", silent)
	wantHint(t, "AWS_CONTAINER_CREDENTIALS_FULL_URI")
}

// silentServer accepts connections and never answers.
func silentServer(t *testing.T) string {
	ctx, cancel := context.WithCancel(context.Background())
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-ctx.Done():
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(func() {
		cancel()
		server.Close()
	})
	return server.URL
}

// wantHint asks the default chain for credentials once, with less patience than a refresh has.
func wantHint(t *testing.T, hint string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if said := origin.ChainError(ctx, origin.Store{Region: "us-east-1"}); !strings.Contains(said, hint) {
		t.Errorf("got %s", said)
	}
}

// A token that somebody wrote into a variable cannot be renewed, and the log says so.
func TestAStaticTokenThatHasExpired(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitReady(t)
		w.Inject(fakeaws.Fault{Op: "GetObject", Status: 400, Code: "ExpiredToken"})
		if text := w.mustFail(t, tile.ErrNoCredentials); !strings.Contains(text, "AWS_SESSION_TOKEN") {
			t.Errorf("got %s", text)
		}
	}, chained, func(_ *fakeaws.Role, o *origin.Options) { // a user's token is not looked at before the fault
		o.Base = func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIAUSER", SecretAccessKey: "user-secret", SessionToken: "written"}, nil
		}
	})
}

// A certificate that this machine does not trust is told from a broken connection.
func TestAnUnknownCertificateAuthority(t *testing.T) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	tiles := stub(t, func(http.ResponseWriter, *http.Request) {}, func(o *origin.Options) { o.Endpoint = server.URL })
	_, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
	if !errors.Is(err, tile.ErrUnreachable) || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
		t.Errorf("got %v", err)
	}
}

// A service without host names for buckets is told from one that is down.
func TestABucketWithoutAHostName(t *testing.T) {
	tiles := stub(t, func(http.ResponseWriter, *http.Request) {}, func(o *origin.Options) {
		o.Endpoint, o.PathStyle = "http://s3.invalid", false
	})
	_, err := tiles.Fetch(t.Context(), tile101, tile.Condition{})
	if !errors.Is(err, tile.ErrUnreachable) || !strings.Contains(err.Error(), "path_style") {
		t.Errorf("got %v", err)
	}
}
