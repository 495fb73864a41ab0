package configs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestSharedFaults(t *testing.T) {
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, section, key, problem string
	}{
		{"another scheme", `{url: "http://cache:6379"}`, "shared.url", "is not the URL of a Redis server"},
		{"no host", `{url: "redis://:6379"}`, "shared.url", "is not the URL of a Redis server"},
		{"a password in the URL", `{url: "redis://:hunter2secret@cache:6379"}`, "shared.url", "holds a user or password"},
		{"options in the URL", `{url: "redis://cache?pool_size=1"}`, "shared.url", "has a query or fragment"},
		{"no database", `{url: "redis://cache/tiles"}`, "shared.url", "does not end in the number of a database"},
		{"a literal password", `{url: "redis://cache", password: hunter2secret}`, "shared.password", "a secret is not written into the configuration"},
		{"a user alone", `{url: "redis://cache", username: tilegate}`, "shared.password", "is required with username"},
		{"url and addresses", `{url: "redis://cache", addresses: ["a:1"], cluster: true}`, "shared.addresses", "is given besides url"},
		{"an address without port", `{addresses: [cache], cluster: true}`, "shared.addresses[0]", "is not host:port"},
		{"addresses of what", `{addresses: ["a:1"]}`, "shared.addresses", "are neither of a cluster nor of sentinels"},
		{"a cluster with sentinels", `{addresses: ["a:1"], cluster: true, sentinel: {master: tiles}}`, "shared.cluster", "does not go with sentinel"},
		{"a cluster without nodes", `{cluster: true}`, "shared.addresses", "is required by cluster"},
		{"sentinel without addresses", `{sentinel: {master: tiles}}`, "shared.addresses", "is required by sentinel"},
		{"no authority", `{url: "rediss://cache", tls: {ca_file: "` + ca + `"}}`, "shared.tls.ca_file", "holds no certificate in PEM"},
		{"a prefix that binds to a slot", `{url: "redis://cache", prefix: "{tiles}"}`, "shared.prefix", "must be 1 to 64 letters, digits and :._-"},
		{"no object at all", `{url: "redis://cache", max_object: 0}`, "shared.max_object", "must be 1 byte to 64MiB"},
		{"a slow look-up", `{url: "redis://cache", timeout: 2s}`, "shared.timeout", "must be at most 1s"},
		{"no prefix", `{url: "redis://cache", prefix: ""}`, "shared.prefix", "must be 1 to 64 letters, digits and :._-"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			found := faults(t, minimal+"shared: "+tt.section+"\n")
			var texts []string
			ok := false
			for _, f := range found {
				texts = append(texts, f.String())
				ok = ok || f.Key == tt.key && f.Problem == tt.problem
			}
			if !ok {
				t.Errorf("got %q, want %s: %s", texts, tt.key, tt.problem)
			}
			if strings.Contains(strings.Join(texts, "\n"), "hunter2secret") {
				t.Error("the faults show a password")
			}
		})
	}
}

func TestSharedNeedsSigningKeys(t *testing.T) {
	file := `
auth: {issuers: [{issuer: "https://id.example.com", audience: [a], algorithms: [RS256]}]}
` + minimalTilesets + `shared: {url: "redis://cache"}
`
	if found := faults(t, file); len(found) != 1 || found[0].Key != "auth.signing_keys" {
		t.Errorf("got %v, want that signing keys are required", found)
	}
}

func TestSharedServers(t *testing.T) {
	for _, tt := range []struct {
		section   string
		addresses []string
		db        int
		encrypted bool
	}{
		{`{}`, nil, 0, false},
		{`{url: "redis://cache"}`, []string{"cache:6379"}, 0, false},
		{`{url: "rediss://[::1]:7000/3"}`, []string{"[::1]:7000"}, 3, true},
		{`{addresses: ["a:1", "b:2"], cluster: true}`, []string{"a:1", "b:2"}, 0, false},
		{`{addresses: ["a:1"], sentinel: {master: tiles}, tls: {enabled: true}}`, []string{"a:1"}, 0, true},
	} {
		c := parse(t, minimal+"shared: "+tt.section+"\n")
		addresses, db, encrypted := c.Shared.Servers()
		if !slices.Equal(addresses, tt.addresses) || db != tt.db || encrypted != tt.encrypted {
			t.Errorf("%s: got %v, %d, %v; want %v, %d, %v", tt.section, addresses, db, encrypted, tt.addresses, tt.db, tt.encrypted)
		}
	}
}
