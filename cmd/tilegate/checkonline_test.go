package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
)

// The name of one issuer may begin with the name of another: each shows its own fault and no other's.
// checkOnline runs check --online, and compares its exit status and what it prints.
func checkOnline(t *testing.T, config string, status int, want, never []string) {
	t.Helper()
	out, errs, got := command(t, "check", "-c", config, "--online")
	if got != status {
		t.Errorf("got status %d, %s", got, errs)
	}
	for _, part := range want {
		if !strings.Contains(out, part) {
			t.Errorf("got %s%s, want %q", out, errs, part)
		}
	}
	for _, part := range never {
		if strings.Contains(out, part) {
			t.Errorf("got %s, want no %q", out, part)
		}
	}
}

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
	useTestCredentials(t)
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

// useTestCredentials sets what the default chain reads.
func useTestCredentials(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": testKey, "AWS_SECRET_ACCESS_KEY": testSecret, "AWS_REGION": "us-east-1",
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_PROFILE": "", "AWS_SESSION_TOKEN": "",
	} {
		t.Setenv(name, value)
	}
}

// Without AWS credentials, check --online tells to its end what to do about a role that cannot be assumed.
func TestCheckOnlineWithoutAWSCredentials(t *testing.T) {
	config, _ := tenLines(t, privateBucket(t).URL(), testRole)
	useTestCredentials(t)
	t.Setenv("AWS_CONFIG_FILE", os.DevNull)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	checkOnline(t, config, 1, []string{"give the machine or pod a role; a public bucket needs anonymous: true"}, []string{": no valid origin credentials"})
}

// What check --online reads is a tile by its key and by its bytes, and what the bucket says against the configuration is noted.
func TestCheckOnlineComparesTheBucket(t *testing.T) {
	png := "\x89PNG\r\n\x1a\n"
	for _, test := range []struct {
		name    string
		objects map[string]string
		config  string // of the file's tilesets and bundles
		status  int
		want    []string
		never   []string
	}{
		{
			"another extension",
			map[string]string{"basemap/0/0/0.png": png},
			`tilesets: {basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.jpg"}}`, 1,
			[]string{`the bucket has "basemap/0/0/0.png", which the source does not name: correct its path or extension`},
			nil,
		},
		{
			"another format",
			map[string]string{"basemap/0/0/0.jpg": png},
			`tilesets: {basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.jpg"}}`, 1,
			[]string{"basemap/0/0/0.jpg: "},
			nil,
		},
		{
			"other objects come first",
			map[string]string{"basemap/.DS_Store": "x", "basemap/12/2148/1400.png": png},
			`tilesets: {basemap: {maxzoom: 12, minzoom: 12, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}}`, 0,
			[]string{"basemap/12/2148/1400.png"},
			[]string{"note:"},
		},
		{
			"zooms",
			map[string]string{"basemap/3/0/0.png": png, "basemap/5/1/1.png": png},
			`tilesets: {basemap: {minzoom: 2, maxzoom: 14, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}}`, 0,
			[]string{"note: the bucket has the zooms 3 to 5, and maxzoom: 14 promises more", "note: the bucket has the zooms 3 to 5, and minzoom: 2 promises more"},
			nil,
		},
		{
			"hidden zooms",
			map[string]string{"basemap/0/0/0.png": png, "basemap/5/1/1.png": png},
			`tilesets: {basemap: {minzoom: 1, maxzoom: 4, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}}`, 0,
			[]string{"and maxzoom: 4 hides those above", "and minzoom: 1 hides those below"},
			nil,
		},
		{
			"bounds",
			map[string]string{"basemap/5/1/1.png": png, "basemap/5/17/10.png": png},
			`tilesets: {basemap: {minzoom: 5, maxzoom: 5, bounds: [5, 45, 15, 55], source: "s3://tiles/basemap/{z}/{x}/{y}.png"}}`, 0,
			[]string{"note: 1 of the 2 tiles that were listed, such as 5/1/1, lie outside of bounds"},
			nil,
		},
		{
			"bounds elsewhere",
			map[string]string{"basemap/5/1/1.png": png},
			`tilesets: {basemap: {minzoom: 5, maxzoom: 5, bounds: [5, 45, 15, 55], source: "s3://tiles/basemap/{z}/{x}/{y}.png"}}`, 0,
			[]string{"note: none of the 1 tiles that were listed, such as 5/1/1, lies within bounds"},
			nil,
		},
		{
			"vector layers",
			map[string]string{"roads/0/0/0.mvt": "\x1a\x02", "roads/metadata.json": `{"json":"{\"vector_layers\":[{\"id\":\"road\",\"fields\":{}},{\"id\":\"rail\",\"fields\":{}}]}"}`},
			`tilesets: {roads: {maxzoom: 0, source: "s3://tiles/roads/{z}/{x}/{y}.mvt"}}`, 0,
			[]string{"note: TileJSON has the layers of roads/metadata.json: road, rail"},
			nil,
		},
		{
			"no vector layers",
			map[string]string{"roads/0/0/0.mvt": "\x1a\x02"},
			`tilesets: {roads: {maxzoom: 0, source: "s3://tiles/roads/{z}/{x}/{y}.mvt"}}`, 0,
			[]string{"note: vector_layers is not set, and roads/metadata.json names none"},
			nil,
		},
		{
			"an empty bundle",
			map[string]string{"basemap/0/0/0.png": png},
			"tilesets: {basemap: {maxzoom: 0, source: \"s3://tiles/basemap/{z}/{x}/{y}.png\"}}\nbundles: {carto: {source: s3://tiles/carto/}}", 0,
			[]string{"note: nothing was read: there is no object under carto/"},
			nil,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			bucket := privateBucket(t)
			for key, body := range test.objects {
				bucket.Put("tiles", key, fakeaws.Object{Body: []byte(body)})
			}
			useTestCredentials(t)
			config := writeFile(t, "tilegate.yaml", "aws: {endpoint: \""+bucket.URL()+"\", sts_endpoint: \""+bucket.URL()+"\", path_style: true, role: {arn: \""+testRole+"\"}}\n"+
				"auth: {signing_keys: [{env: TILEGATE_TEST_KEY}]}\n"+test.config+"\n")
			t.Setenv("TILEGATE_TEST_KEY", strings.Repeat("A", 43)+"=")
			checkOnline(t, config, test.status, test.want, test.never)
		})
	}
}

// A store of which no object could be read has a row that says so, and what to do.
func TestCheckOnlineTellsWhichStoreWasNotTried(t *testing.T) {
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	useTestCredentials(t)
	config := writeFile(t, "tilegate.yaml", "aws: {endpoint: \""+bucket.URL()+"\", sts_endpoint: \""+bucket.URL()+"\", path_style: true, role: {arn: \""+testRole+"\"}}\n"+
		"stores:\n  wasabi: {endpoint: \""+bucket.URL()+"\", path_style: true, anonymous: true}\n"+
		"tilesets:\n  basemap: {source: \"s3://tiles/basemap/{z}/{x}/{y}.png\", public: true}\n"+
		"  roads: {source: \"s3://nowhere/roads/{z}/{x}/{y}.png\", store: wasabi, public: true}\n")
	out, errs, status := command(t, "check", "-c", config, "--online")
	_, table, _ := strings.Cut(out, "STORE")
	var found bool
	lines := strings.Split(table, "\n")
	for i, line := range lines {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "wasabi" && fields[1] == "nothing" {
			found = i+1 < len(lines) && strings.Contains(lines[i+1], "none of its objects could be read") && strings.Contains(lines[i+1], "check again")
		}
	}
	if status != 1 || !found {
		t.Errorf("got status %d, %q and:\n%s", status, errs, out)
	}
}
