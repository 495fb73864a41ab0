package origin_test

import (
	"bytes"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// tilesFrom is an origin in a store of which the standard variables say more.
func tilesFrom(t *testing.T, endpoint string) *origin.S3 {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIAUSER")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "user-secret")
	src := source("base", "tiles", "base/")
	src.Role = origin.Role{}
	a := open(t, origin.Options{
		Store:   origin.Store{Region: "us-east-1", Endpoint: endpoint, PathStyle: endpoint != ""},
		Sources: []origin.Source{src},
	})
	return a.Source("base")
}

func TestACertificateAuthorityOfOnesOwn(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content(1)) }))
	defer server.Close()
	withoutAWS(t)
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	if _, body, err := read(tilesFrom(t, server.URL).Fetch(t.Context(), tile101, tile.Condition{})); err != nil || !bytes.Equal(body, content(1)) {
		t.Errorf("got %d bytes, %v", len(body), err)
	}
}

func TestFIPSEndpoints(t *testing.T) {
	withoutAWS(t)
	t.Setenv("AWS_USE_FIPS_ENDPOINT", "true")
	signed, err := tilesFrom(t, "").Presign(t.Context(), tile101)
	if err != nil || !strings.HasPrefix(signed.URL, "https://tiles.s3-fips.us-east-1.amazonaws.com/base/1/0/1.png?") {
		t.Errorf("got %s, %v", signed.URL, err)
	}
}

// Go reads the variables of proxies once in a process, so each case is a process of its own: this test again.
func TestHTTPProxies(t *testing.T) {
	if endpoint := os.Getenv("TEST_ENDPOINT"); endpoint != "" {
		_, body, err := read(tilesFrom(t, endpoint).Fetch(t.Context(), tile101, tile.Condition{}))
		if want := os.Getenv("TEST_SAYS"); want != "" {
			if !errors.Is(err, tile.ErrUnreachable) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "proxy-secret") {
				t.Errorf("got %v, want it to say %q", err, want)
			}
		} else if err != nil || !bytes.Equal(body, content(1)) {
			t.Errorf("got %d bytes, %v", len(body), err)
		}
		return
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodConnect:
			w.WriteHeader(http.StatusForbidden)
		case r.Header.Get("Proxy-Authorization") == "":
			w.WriteHeader(http.StatusProxyAuthRequired)
		default:
			_, _ = w.Write(content(1))
		}
	}))
	defer proxy.Close()
	host := strings.TrimPrefix(proxy.URL, "http://")
	for name, variables := range map[string][]string{
		"through the proxy":     {"HTTP_PROXY=http://user:proxy-secret@" + host, "TEST_ENDPOINT=http://s3.invalid"},
		"without its password":  {"HTTP_PROXY=" + proxy.URL, "TEST_ENDPOINT=http://s3.invalid", "TEST_SAYS=HTTPS_PROXY"},
		"not allowed":           {"HTTPS_PROXY=http://user:proxy-secret@" + host, "TEST_ENDPOINT=https://s3.invalid", "TEST_SAYS=answered 403"},
		"a proxy that is down":  {"HTTPS_PROXY=http://user:proxy-secret@127.0.0.1:1", "TEST_ENDPOINT=https://s3.invalid", "TEST_SAYS=the proxy can't be reached"},
		"past it, with a cause": {"HTTPS_PROXY=" + proxy.URL, "NO_PROXY=s3.invalid", "TEST_ENDPOINT=https://s3.invalid", "TEST_SAYS=path_style"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestHTTPProxies$")
			cmd.Env = append(os.Environ(), append(variables, "AWS_EC2_METADATA_DISABLED=true")...)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
