package main

import (
	"os"
	"strings"
	"testing"

	"tilegate/configs"
)

// The configuration on the page about services is valid, and each of its sources has an endpoint.
func TestDocumentedStores(t *testing.T) {
	page, err := os.ReadFile("../../docs/storage.md")
	if err != nil {
		t.Fatal(err)
	}
	_, snippet, _ := strings.Cut(string(page), "```yaml\n")
	snippet, _, _ = strings.Cut(snippet, "```")
	t.Setenv("AWS_CONFIG_FILE", writeFile(t, "config", "[profile wasabi]\naws_access_key_id = A\naws_secret_access_key = B\n"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", os.DevNull)
	auth := "auth: {issuers: [{issuer: \"https://id.example.com/\", audience: [tiles], algorithms: [RS256]}]}\n"
	config, err := configs.Load(writeFile(t, "tilegate.yaml", auth+snippet), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	s, err := newService(t.Context(), config, noLog(), extras{})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, c := range s.origins.Credentials() {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, ", "); got != "default credential chain, profile wasabi (wasabi)" {
		t.Errorf("got %s", got)
	}
}
