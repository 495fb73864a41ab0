package main

import (
	"bufio"
	"encoding/json"
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

// The demo's vector map comes out of the private bucket as a whole: style, glyphs, sprite, tiles. Who may see its tileset
// may see it, and nobody else.
func TestDemoServesAStyleWithGlyphsAndSprite(t *testing.T) {
	_, stdout := start(t, nil, "demo", "--listen", "127.0.0.1:0")
	page := regexp.MustCompile(`http://[0-9.:]+`).FindString(readUntil(t, stdout, "Ctrl-C"))
	_, html := get(t, page+"/")
	tokenURL := regexp.MustCompile(`http://[0-9.:]+/token\?account=`).FindString(string(html))
	bearer := map[string]string{}
	for _, account := range []string{"ada", "bo", "eve", "nil"} {
		bearer[account] = "Bearer " + accessToken(t, tokenURL+account)
	}
	var style struct {
		Glyphs, Sprite string
		Sources        map[string]struct{ URL, Data string }
	}
	if _, body := get(t, page+"/assets/cartography/style.json", "Authorization", bearer["ada"]); json.Unmarshal(body, &style) != nil {
		t.Fatalf("the style: got %s", body)
	}
	glyphs := strings.NewReplacer("{fontstack}", "Go%20Medium", "{range}", "0-255").Replace(style.Glyphs)
	for _, asset := range []struct{ url, contentType, begins string }{
		{page + "/assets/cartography/style.json", "application/json", "{"},
		{glyphs, "application/x-protobuf", "\n"},
		{strings.ReplaceAll(glyphs, "Medium", "Italic"), "application/x-protobuf", "\n"},
		{style.Sprite + ".json", "application/json", "{"},
		{style.Sprite + ".png", "image/png", "\x89PNG"},
		{style.Sprite + "@2x.json", "application/json", "{"},
		{style.Sprite + "@2x.png", "image/png", "\x89PNG"},
		{style.Sources["waters"].Data, "application/geo+json", "{"},
	} {
		if !strings.HasPrefix(asset.url, page+"/assets/cartography/") {
			t.Errorf("%s is not in the bundle", asset.url)
			continue
		}
		answer, body := get(t, asset.url, "Authorization", bearer["ada"])
		if answer.StatusCode != 200 || answer.Header.Get("Content-Type") != asset.contentType || !strings.HasPrefix(string(body), asset.begins) {
			t.Errorf("%s: got %s %s %.20q", asset.url, answer.Status, answer.Header.Get("Content-Type"), body)
		}
		for account, want := range map[string]int{"bo": 403, "eve": 200, "nil": 403} {
			if answer, _ := get(t, asset.url, "Authorization", bearer[account]); answer.StatusCode != want {
				t.Errorf("%s for %s: got %s, want %d", asset.url, account, answer.Status, want)
			}
		}
		if answer, _ := get(t, asset.url); answer.StatusCode != 401 {
			t.Errorf("%s without a token: got %s", asset.url, answer.Status)
		}
	}
	if answer, body := get(t, style.Sources["countries"].URL, "Authorization", bearer["ada"]); answer.StatusCode != 200 || !strings.Contains(string(body), "vector_layers") {
		t.Errorf("the style's tileset: got %s %s", answer.Status, body)
	}
	for account, want := range map[string]bool{"ada": true, "bo": false, "eve": true, "nil": false} {
		if _, body := get(t, page+"/catalog", "Authorization", bearer[account]); strings.Contains(string(body), `"cartography/world"`) != want {
			t.Errorf("the catalogue of %s: got %s", account, body)
		}
	}
	// Eve has the style, and of its tiles those of Europe.
	for tile, want := range map[string]int{"5/16/10": 200, "5/8/12": 403} {
		if answer, _ := get(t, page+"/tiles/countries/"+tile+".mvt", "Authorization", bearer["eve"]); answer.StatusCode != want {
			t.Errorf("eve, %s: got %s, want %d", tile, answer.Status, want)
		}
	}
	if answer, _ := get(t, page+"/assets/cartography/other.json", "Authorization", bearer["ada"]); answer.StatusCode != 404 {
		t.Errorf("a file that is not there: got %s", answer.Status)
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
