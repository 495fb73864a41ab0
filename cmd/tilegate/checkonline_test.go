package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
)

// The name of one issuer may begin with the name of another: each shows its own fault and no other's.
func TestCheckOnlineTellsEachIssuersOwnFault(t *testing.T) {
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := map[string]int{"/a/jwks.json": http.StatusTeapot, "/ab/jwks.json": http.StatusGone}[r.URL.Path]
		if status == 0 {
			_, _ = w.Write([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},{"kty":"oct","kid":"o","k":"AAAA"}]}`))
			return
		}
		w.WriteHeader(status)
	}))
	defer keys.Close()
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret, "AWS_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "",
	} {
		t.Setenv(name, value)
	}
	issuers := ""
	for _, name := range []string{"a", "ab", "abc"} {
		issuers += "    - {issuer: \"" + keys.URL + "/" + name + "\", audience: [tiles], algorithms: [EdDSA], jwks_url: \"" + keys.URL + "/" + name + "/jwks.json\", allow: {tilesets: [\"*\"]}}\n"
	}
	config := writeFile(t, "tilegate.yaml", "aws: {endpoint: \""+bucket.URL()+"\", sts_endpoint: \""+bucket.URL()+"\", path_style: true, role: {arn: \""+testRole+"\"}}\n"+
		"auth:\n  issuers:\n"+issuers+"tilesets:\n  basemap: {source: \"s3://tiles/basemap/{z}/{x}/{y}.png\"}\n")
	out, errs, status := command(t, "check", "-c", config, "--online")
	_, table, _ := strings.Cut(out, "ISSUER")
	lines := strings.Split(strings.TrimSpace(table), "\n")
	if status != 1 || len(lines) != 7 {
		t.Fatalf("got status %d, %q and:\n%s", status, errs, out)
	}
	for i, want := range []struct{ begins, ends string }{
		{"RESULT", ""},
		{keys.URL + "/a ", "FAILED"},
		{"    ", "418, not 200"},
		{keys.URL + "/ab ", "FAILED"},
		{"    ", "410, not 200"},
		{keys.URL + "/abc ", "ok"},
		{"    key \"o\" is not used: it is a secret", "could sign"},
	} {
		if got := lines[i]; !strings.HasPrefix(strings.TrimPrefix(got, " "), strings.TrimPrefix(want.begins, " ")) || !strings.HasSuffix(got, want.ends) {
			t.Errorf("line %d: got %q, want %q … %q", i, got, want.begins, want.ends)
		}
	}
}
