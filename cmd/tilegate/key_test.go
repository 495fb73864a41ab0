package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tilegate/internal/fakeaws"
)

// withKeyFile is the configuration of a server that has API keys and nothing else, and the file of the keys.
func withKeyFile(t *testing.T, endpoint string) (config, file string) {
	t.Helper()
	config = writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: ""}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
auth: {api_keys: {file: keys.jsonl}}
tilesets:
  basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
`, endpoint, endpoint, testRole))
	return config, filepath.Join(filepath.Dir(config), "keys.jsonl")
}

func keyCommandOf(t *testing.T, args ...string) string {
	t.Helper()
	out, errs, status := command(t, append([]string{"key"}, args...)...)
	if status != 0 {
		t.Fatalf("key %s: status %d, %s", args[0], status, errs)
	}
	return strings.TrimSpace(out)
}

// A key that is made on the command line shows the map on one origin and not on another, and stops when it
// is revoked. The server runs all the time.
func TestAPIKeyFromTheCommandLine(t *testing.T) {
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: []byte("\x89PNG\r\n\x1a\n")})
	config, file := withKeyFile(t, bucket.URL())
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	key := keyCommandOf(t, "create", "-c", config, "--name", "shop", "--tilesets", "basemap", "--origins", "https://shop.example.com", "--ttl", "365d")
	tile := server.url + "/t/" + key + "/tiles/basemap/0/0/0.png"
	status := func(headers ...string) func() error {
		return func() error {
			answer, _, err := try(t.Context(), tile, headers...)
			if err == nil && answer.StatusCode != http.StatusOK {
				err = fmt.Errorf("status %d", answer.StatusCode)
			}
			return err
		}
	}
	eventually(t, "the map on its own page", status("Referer", "https://shop.example.com/"))
	for _, headers := range [][]string{{"Referer", "https://evil.example/"}, {"Origin", "https://evil.example"}, nil} {
		if answer, _ := get(t, tile, headers...); answer.StatusCode != http.StatusForbidden {
			t.Errorf("with %q: got %d, want 403", headers, answer.StatusCode)
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Split(key, "_")[1]
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(content), key[len(key)-52:]) {
		t.Errorf("the file has mode %v and\n%s", info.Mode(), content)
	}
	list := keyCommandOf(t, "list", "-c", config)
	if !regexp.MustCompile(`(?m)^`+id+` +shop +valid +\S+Z +basemap +https://shop\.example\.com +-$`).MatchString(list) || strings.Contains(list, key[len(key)-52:]) {
		t.Errorf("got the list\n%s", list)
	}
	if out := keyCommandOf(t, "revoke", "-c", config, id); out != "revoked "+id+" (shop)" {
		t.Errorf("got %q", out)
	}
	eventually(t, "the revoked key is refused", func() error {
		if answer, _ := get(t, tile, "Referer", "https://shop.example.com/"); answer.StatusCode != http.StatusUnauthorized {
			return fmt.Errorf("status %d", answer.StatusCode)
		}
		return nil
	})
	if list := keyCommandOf(t, "list", "-c", config); !strings.Contains(list, " revoked ") {
		t.Errorf("got the list\n%s", list)
	}
	if log := server.log(); strings.Contains(log, key[len(key)-52:]) || !strings.Contains(log, "key:"+id) {
		t.Errorf("the log tells the key, or not whose it was:\n%s", log)
	}
	if status := server.terminate(t); status != 0 {
		t.Errorf("the server ended with %d", status)
	}
}

func TestKeyCommands(t *testing.T) {
	config, file := withKeyFile(t, "http://127.0.0.1:9")
	t.Run("limits", func(t *testing.T) {
		keyCommandOf(t, "create", "-c", config, "--name", "a", "--tilesets", "acme-*,file:report", "--zoom", "0-12", "--bbox", "-1,2,3,4", "--ips", "192.0.2.0/24,2001:db8::1", "--ttl", "0")
		if list := keyCommandOf(t, "list", "-c", config); !strings.Contains(list, "never") || !strings.Contains(list, "acme-*,file:report zoom 0-12 bbox -1,2,3,4") || !strings.Contains(list, "192.0.2.0/24,2001:db8::1/128") {
			t.Errorf("got\n%s", list)
		}
	})
	t.Run("a line that an editor has left open", func(t *testing.T) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(strings.TrimSuffix(string(content), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
		id := strings.Split(keyCommandOf(t, "create", "-c", config, "--name", "b", "--tilesets", "basemap"), "_")[1]
		keyCommandOf(t, "revoke", "-c", config, id)
		keyCommandOf(t, "revoke", "-c", config, id) // once more does nothing
		if list := keyCommandOf(t, "list", "-c", config); strings.Count(list, "\n") != 2 {
			t.Errorf("got\n%s", list)
		}
		if content, err := os.ReadFile(file); err != nil || strings.Count(string(content), "revoke") != 1 {
			t.Errorf("got\n%s", content)
		}
	})
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"no tilesets", []string{"create", "--name", "a"}, "--tilesets"},
		{"an origin with a path", []string{"create", "--name", "a", "--tilesets", "a", "--origins", "https://a.example/"}, "--origins"},
		{"every origin", []string{"create", "--name", "a", "--tilesets", "a", "--origins", "*"}, "--origins"},
		{"everybody's domain", []string{"create", "--name", "a", "--tilesets", "a", "--origins", "https://*.vercel.app"}, "--origins"},
		{"no network", []string{"create", "--name", "a", "--tilesets", "a", "--ips", "192.0.2.1/24"}, "--ips"},
		{"no duration", []string{"create", "--name", "a", "--tilesets", "a", "--ttl", "1y"}, "365d"},
		{"days without end", []string{"create", "--name", "a", "--tilesets", "a", "--ttl", "99999999d"}, "number of days"},
		{"no tileset's name", []string{"create", "--name", "a", "--tilesets", "A"}, "entry 1"},
		{"an id that is not there", []string{"revoke", "nobody"}, "no key of this id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			before, _ := os.ReadFile(file)
			out, errs, status := command(t, append([]string{"key", test.args[0], "-c", config}, test.args[1:]...)...)
			if status != 2 || !strings.Contains(errs, test.says) || out != "" {
				t.Errorf("got %q, %q, status %d", out, errs, status)
			}
			if after, _ := os.ReadFile(file); string(after) != string(before) {
				t.Error("the file has changed")
			}
		})
	}
	t.Run("a broken file", func(t *testing.T) {
		if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, args := range [][]string{{"key", "list"}, {"key", "revoke", "x"}, {"key", "create", "--name", "a", "--tilesets", "a"}, {"check"}} {
			_, errs, status := command(t, append(args, "-c", config)...)
			if status != 2 || !strings.Contains(errs, "auth.api_keys.file") || !strings.Contains(errs, "line 1") {
				t.Errorf("%q: got %q, status %d", args, errs, status)
			}
		}
	})
	t.Run("no file configured", func(t *testing.T) {
		plain, _ := tenLines(t, "http://127.0.0.1:9", testRole)
		if _, errs, status := command(t, "key", "list", "-c", plain); status != 2 || !strings.Contains(errs, "auth.api_keys.file is not set") {
			t.Errorf("got %q, status %d", errs, status)
		}
	})
}

// check tells which hosts are asked without TLS, and why keys of a set are not used.
func TestCheckTellsOfKeysAndHosts(t *testing.T) {
	config := writeFile(t, "tilegate.yaml", `auth:
  insecure_jwks_hosts: [keycloak.auth.svc]
  api_keys: {file: none.jsonl}
  signing_keys: [{env: SIGNING_KEY}]
  issuers: [{issuer: "http://keycloak.auth.svc/realms/acme", audience: [a], algorithms: [RS256]}]
tilesets:
  basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
aws: {region: us-east-1}
`)
	t.Setenv("SIGNING_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")
	_, errs, status := command(t, "check", "-c", config)
	if status != 0 || !strings.Contains(errs, ":2: note: auth.insecure_jwks_hosts[0]: keys come from keycloak.auth.svc over plain http") || !strings.Contains(errs, ":3: note: auth.api_keys.file: does not exist yet") {
		t.Errorf("got %q, status %d", errs, status)
	}
}
