package configs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tilegate/configs"
)

// A file that is read twice says the same, and each change of it is seen in its section.
func TestSame(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	text := `server: {cors: {origins: ["https://a.example"]}, trusted_proxies: ["10.0.0.0/8"]}
aws: {region: eu-central-1, role: {arn: "arn:aws:iam::123456789012:role/tiles"}}
auth:
  signing_keys: [{file: a.key}, {env: KEY}]
  issuers: [{issuer: "https://id.example/", audience: [a], algorithms: [HS256], key: {env: KEY}}]
  areas: {spot: {file: spot.geojson}}
tilesets:
  a: {source: "s3://tiles/{z}/{x}/{y}.png", bounds: [1, 2, 3, 4]}
`
	write("a.key", strings.Repeat("A", 42)+"E=")
	write("spot.geojson", `{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}`)
	read := func(text, key string) *configs.Config {
		t.Helper()
		c, err := configs.Load(write("c.yaml", text), func(string) (string, bool) { return key, true })
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	key := strings.Repeat("K", 42) + "E="
	c := read(text, key)
	if again := read(text, key); !configs.Same(c.Auth, again.Auth) || !configs.Same(c.Server, again.Server) || !configs.Same(c.AWS, again.AWS) || !configs.Same(c.Tilesets, again.Tilesets) {
		t.Error("the same file twice: they differ")
	}
	if configs.Same(c.Auth, read(text, strings.Repeat("J", 42)+"E=").Auth) {
		t.Error("another secret: the same")
	}
	write("a.key", strings.Repeat("B", 42)+"E=")
	if configs.Same(c.Auth, read(text, key).Auth) {
		t.Error("another signing key: the same")
	}
	for before, after := range map[string]string{"[1, 2, 3, 4]": "[1, 2, 3, 5]", "{y}.png": "{y}.jpg"} {
		if configs.Same(c.Tilesets, read(strings.Replace(text, before, after, 1), key).Tilesets) {
			t.Errorf("%s for %s: the same", after, before)
		}
	}
	if configs.Same(c.Server, read(strings.Replace(text, "10.0.0.0/8", "10.0.0.0/9", 1), key).Server) {
		t.Error("another network: the same")
	}
}
