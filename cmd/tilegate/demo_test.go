package main

import (
	"bufio"
	"net/http"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The demo's curl lines work when they are pasted: the tile, the 401, and the bucket's own 403.
func TestDemoCurlLinesWorkWhenPasted(t *testing.T) {
	demo, stdout := start(t, nil, "demo", "--listen", "127.0.0.1:0")
	text := readUntil(t, stdout, "Ctrl-C")
	lines := regexp.MustCompile(`(?m)^  (curl .*)$`).FindAllStringSubmatch(text, -1)
	if len(lines) != 4 {
		t.Fatalf("the demo prints %d curl lines, want 4:\n%s", len(lines), text)
	}
	for i, want := range []string{"200 image/png", "401", "403", `"id":"world"`} {
		shell := exec.CommandContext(t.Context(), "sh", "-c", lines[i][1])
		shell.Dir = t.TempDir()
		out, err := shell.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: got %v and %q, want %q", lines[i][1], err, out, want)
		}
	}
	if status := demo.terminate(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

// A page of another origin can use the demo, if that is named, and no other.
func TestDemoForPagesOfAnotherOrigin(t *testing.T) {
	_, stdout := start(t, nil, "demo", "--listen", "127.0.0.1:0", "--cors", "https://app.example.com", "--cors", "http://localhost:5173")
	page := regexp.MustCompile(`http://[0-9.:]+`).FindString(readUntil(t, stdout, "Ctrl-C"))
	for _, origin := range []string{"https://app.example.com", "http://localhost:5173", "https://evil.example"} {
		want := origin
		if strings.Contains(origin, "evil") {
			want = ""
		}
		if answer, _ := get(t, page+"/catalog", "Origin", origin); answer.Header.Get("Access-Control-Allow-Origin") != want {
			t.Errorf("%s: got %q", origin, answer.Header)
		}
	}
}

// The demo's admin listener has no token, so that it is on loopback alone.
func TestDemoAdminStaysOnLoopback(t *testing.T) {
	out, errs, status := command(t, "demo", "--listen", "127.0.0.1:0", "--admin", "0.0.0.0:0")
	if status != 2 || !strings.Contains(errs, "admin_token") {
		t.Errorf("got status %d, %s%s", status, out, errs)
	}
}

// Each of the demo's people sees what its token says, and no more.
func TestDemoPeopleSeeWhatTheirTokensSay(t *testing.T) {
	_, stdout := start(t, nil, "demo", "--listen", "127.0.0.1:0")
	page := regexp.MustCompile(`http://[0-9.:]+`).FindString(readUntil(t, stdout, "Ctrl-C"))
	_, html := get(t, page+"/")
	tokenURL := regexp.MustCompile(`http://[0-9.:]+/token\?account=`).FindString(string(html))
	for _, test := range []struct {
		account, tile string
		want          int
	}{
		{"ada", "5/16/10", http.StatusOK},
		{"bo", "2/1/1", http.StatusOK},
		{"bo", "3/1/1", http.StatusForbidden},
		{"eve", "5/16/10", http.StatusOK},
		{"eve", "5/8/12", http.StatusForbidden},
		{"nil", "0/0/0", http.StatusForbidden},
	} {
		token := accessToken(t, tokenURL+test.account)
		if answer, _ := get(t, page+"/tiles/world/"+test.tile+".png", "Authorization", "Bearer "+token); answer.StatusCode != test.want {
			t.Errorf("%s, %s: got %s, want %d", test.account, test.tile, answer.Status, test.want)
		}
	}
}

func accessToken(t *testing.T, url string) string {
	t.Helper()
	_, body := get(t, url)
	found := regexp.MustCompile(`"access_token":"([^"]+)"`).FindSubmatch(body)
	if found == nil {
		t.Fatalf("%s answers %q", url, body)
	}
	return string(found[1])
}

func readUntil(t *testing.T, r *bufio.Reader, end string) string {
	t.Helper()
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		text.WriteString(line)
		if err != nil {
			t.Fatalf("the output ends with %v before %q:\n%s", err, end, text.String())
		}
		if strings.Contains(line, end) {
			return text.String()
		}
	}
}
