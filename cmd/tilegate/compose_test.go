//go:build unix

package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"tilegate/internal/testenv"
)

// The nginx of deploy/compose in front of two instances: both are used, and if one is killed, no request fails.
func TestComposeNginx(t *testing.T) {
	f := newFleet(t, testenv.Redis(t).Address)
	a, b := f.start(t), f.start(t)
	token := mintToken(t, a.config, "--tilesets", "basemap")
	for _, m := range []*member{a, b} {
		m.waitFor(t, "it serves", token, http.StatusOK)
	}
	log := t.TempDir() + "/access.log"
	url := testenv.Nginx(t, edit(t, "compose/nginx.conf", map[string]string{
		"server 172.29.0.11:8080 ":  "server " + strings.TrimPrefix(a.url, "http://") + " ",
		"server 172.29.0.12:8080 ":  "server " + strings.TrimPrefix(b.url, "http://") + " ",
		"/var/log/nginx/access.log": log,
		"listen 80;":                "listen {{.Address}};",
	}))
	ask := func(n int) {
		t.Helper()
		for range n {
			if answer, body := get(t, url+"/tiles/basemap/0/0/0?token=secret-in-a-query", "Authorization", "Bearer "+token); answer.StatusCode != http.StatusOK {
				t.Fatalf("got %s %s", answer.Status, body)
			}
		}
	}
	ask(4)
	if answer, _ := get(t, url+"/t/secret-in-a-path/tiles/basemap/0/0/0"); answer.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong token in the path: got %s", answer.Status)
	}
	a.terminate(t)
	ask(20)
	lines, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	text := string(lines)
	for _, m := range []*member{a, b} {
		if !strings.Contains(text, strings.TrimPrefix(m.url, "http://")) {
			t.Errorf("nginx has not asked %s:\n%s", m.url, text)
		}
	}
	if !strings.Contains(text, "/tiles/basemap/0/0/0") || strings.Contains(text, "secret-in") || strings.Contains(text, token) {
		t.Errorf("the log has credentials, or nothing:\n%s", text)
	}
}
