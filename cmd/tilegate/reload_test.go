//go:build unix

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tilegate/internal/fakeaws"
)

// reloadable is a program whose configuration a test changes.
type reloadable struct {
	*program
	admin, path string
	bucket      *fakeaws.Server
	head        string // of the configuration
}

const (
	reloadTilesets = `tilesets:
  basemap: {source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
  roads: {source: "s3://tiles/roads/{z}/{x}/{y}.png"}
`
	reloadKeys = "auth: {signing_keys: [{file: %q}]}\n"
)

func startReloadable(t *testing.T) *reloadable {
	t.Helper()
	r := &reloadable{admin: freeAddress(t), bucket: privateBucket(t)}
	for n, id := range []string{"basemap", "roads", "other"} {
		r.bucket.Put("tiles", id+"/0/0/0.png", fakeaws.Object{Body: append(randomTiles(1)["9/0/0"], byte(n))})
	}
	key, _, _ := command(t, "keygen")
	r.path = writeFile(t, "tilegate.yaml", "")
	if err := os.WriteFile(filepath.Join(filepath.Dir(r.path), "one.key"), []byte(key), 0o600); err != nil {
		t.Fatal(err)
	}
	r.head = fmt.Sprintf(`server: {listen: "127.0.0.1:0", admin_listen: %q}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
`, r.admin, r.bucket.URL(), r.bucket.URL(), testRole)
	r.write(t, fmt.Sprintf(reloadKeys, "one.key")+reloadTilesets)
	r.program, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", r.path)
	return r
}

// write changes the file. What is in it counts once it is reloaded.
func (r *reloadable) write(t *testing.T, rest string) {
	t.Helper()
	if err := os.WriteFile(r.path, []byte(r.head+rest), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (r *reloadable) reload(t *testing.T) (status int, body string) {
	t.Helper()
	answer, text := send(t, http.MethodPost, "http://"+r.admin+"/admin/reload", "")
	return answer.StatusCode, string(text)
}

func (r *reloadable) mustReload(t *testing.T) {
	t.Helper()
	if status, body := r.reload(t); status != http.StatusOK {
		t.Fatalf("reload: %d %s", status, body)
	}
}

func (r *reloadable) status(t *testing.T, path, token string) int {
	t.Helper()
	answer, _ := get(t, r.url+path, "Authorization", "Bearer "+token)
	return answer.StatusCode
}

const (
	basemapTile = "/tiles/basemap/0/0/0.png"
	roadsTile   = "/tiles/roads/0/0/0.png"
)

// Each way to ask for a reload, and each time another tileset comes.
func TestReload(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	for n, ask := range map[string]func(){
		"SIGHUP":               func() { _ = r.cmd.Process.Signal(syscall.SIGHUP) },
		"POST /admin/reload":   func() { r.mustReload(t) },
		"the file has changed": func() {},
	} {
		id := "new-" + strconv.Itoa(len(n))
		if got := r.status(t, "/tiles/"+id+"/0/0/0.png", token); got != http.StatusNotFound {
			t.Fatalf("%s: got %d before it", n, got)
		}
		r.write(t, fmt.Sprintf(reloadKeys, "one.key")+reloadTilesets+"  "+id+`: {source: "s3://tiles/other/{z}/{x}/{y}.png"}`+"\n")
		ask()
		eventually(t, n, func() error {
			if got := r.status(t, "/tiles/"+id+"/0/0/0.png", token); got != http.StatusOK {
				return fmt.Errorf("got %d", got)
			}
			return nil
		})
	}
	if !strings.Contains(r.log(), `"msg":"the configuration was reloaded","changed":"tilesets"`) {
		t.Errorf("the log does not tell:\n%s", r.log())
	}
	if status := r.terminate(t); status != 0 {
		t.Errorf("exit status %d", status)
	}
}

// Kubernetes does not write files: it lets a link point to another directory.
func TestReloadOfAConfigMap(t *testing.T) {
	r := startReloadable(t)
	if status := r.terminate(t); status != 0 {
		t.Fatal(status)
	}
	dir := filepath.Dir(r.path)
	version := func(n int, text string) {
		t.Helper()
		name := "..version-" + strconv.Itoa(n)
		err := os.Mkdir(filepath.Join(dir, name), 0o700)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name, "tilegate.yaml"), []byte(r.head+text), 0o600)
		}
		if err == nil {
			err = os.Symlink(name, filepath.Join(dir, "..data_tmp"))
		}
		if err == nil {
			err = os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	keys := fmt.Sprintf(reloadKeys, filepath.Join(dir, "one.key"))
	version(1, keys+reloadTilesets)
	if err := errors.Join(os.Remove(r.path), os.Symlink(filepath.Join("..data", "tilegate.yaml"), r.path)); err != nil {
		t.Fatal(err)
	}
	token := mintToken(t, r.path, "--tilesets", "*")
	r.program, _ = start(t, baseCredentials(testKey, testSecret), "serve", "-c", r.path)
	version(2, keys+reloadTilesets+`  third: {source: "s3://tiles/other/{z}/{x}/{y}.png"}`+"\n")
	eventually(t, "the new version is in force", func() error {
		if got := r.status(t, "/tiles/third/0/0/0.png", token); got != http.StatusOK {
			return fmt.Errorf("got %d", got)
		}
		return nil
	})
}

// A file with faults changes nothing, and the operator sees all of them, and that an older one is in force.
func TestReloadOfABadFile(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	metric := func(line string) error {
		if _, body := get(t, "http://"+r.admin+"/metrics"); !strings.Contains(string(body), line) {
			return fmt.Errorf("no %s", line)
		}
		return nil
	}
	for name, text := range map[string]string{
		"two faults": "auth: {signing_keys: [{file: one.key}]}\ntilesets:\n  a: {source: \"s3://tiles/{z}/{x}.png\"}\n  b: {sauce: x}\n",
		"no YAML":    "tilesets: [\n",
		"no file":    "",
	} {
		r.write(t, text)
		if name == "no file" {
			if err := os.Remove(r.path); err != nil {
				t.Fatal(err)
			}
		}
		status, body := r.reload(t)
		if status != http.StatusUnprocessableEntity || !strings.Contains(body, "tilegate.yaml") {
			t.Errorf("%s: got %d %s", name, status, body)
		}
		if name == "two faults" && (!strings.Contains(body, "tilesets.a") || !strings.Contains(body, "sauce")) {
			t.Errorf("got %s, want both faults", body)
		}
		if got := r.status(t, basemapTile, token); got != http.StatusOK {
			t.Errorf("%s: a tile is %d", name, got)
		}
		answer, ready := get(t, "http://"+r.admin+"/metrics")
		if err := metric("tilegate_config_degraded 1"); err != nil {
			t.Errorf("%s: %v (%d, %d bytes)", name, err, answer.StatusCode, len(ready))
		}
		if answer, ready := get(t, r.url+"/ready"); answer.StatusCode != http.StatusOK || !strings.Contains(string(ready), "an earlier one is in force") {
			t.Errorf("%s: /ready is %d %s", name, answer.StatusCode, ready)
		}
	}
	r.write(t, fmt.Sprintf(reloadKeys, "one.key")+reloadTilesets)
	r.mustReload(t)
	if err := metric("tilegate_config_degraded 0"); err != nil {
		t.Error(err)
	}
	if answer, ready := get(t, r.url+"/ready"); strings.Contains(string(ready), "degraded") {
		t.Errorf("/ready is %d %s", answer.StatusCode, ready)
	}
}

// What a listener or the memory needs is told, and the rest applies.
func TestReloadTellsWhatNeedsARestart(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	head := r.head
	r.head = strings.Replace(head, "server: {", "server: {limits: {streams: 7}, ", 1) + "cache: {memory: 128MiB}\n"
	r.write(t, fmt.Sprintf(reloadKeys, "one.key")+strings.Replace(reloadTilesets, "roads", "streets", 1))
	status, body := r.reload(t)
	var done struct {
		Changed      []string
		NeedsRestart []string `json:"needs_restart"`
	}
	if err := json.Unmarshal([]byte(body), &done); err != nil || status != http.StatusOK {
		t.Fatalf("got %d %s", status, body)
	}
	if !slices.Equal(done.NeedsRestart, []string{"server.limits", "cache.memory"}) || !slices.Equal(done.Changed, []string{"tilesets"}) {
		t.Errorf("got %s", body)
	}
	if got := r.status(t, "/tiles/streets/0/0/0.png", token); got != http.StatusOK {
		t.Errorf("the rest does not apply: got %d", got)
	}
	if got := r.status(t, roadsTile, token); got != http.StatusNotFound {
		t.Errorf("the removed tileset: got %d", got)
	}
}

// A tileset that is taken away must not be served out of the cache, nor must one that points elsewhere serve what it pointed to.
func TestReloadServesNothingOfTheConfigurationBefore(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	_, before := get(t, r.url+basemapTile, "Authorization", "Bearer "+token)
	_, roads := get(t, r.url+roadsTile, "Authorization", "Bearer "+token)

	r.write(t, fmt.Sprintf(reloadKeys, "one.key")+strings.Replace(reloadTilesets, "basemap/{z}", "other/{z}", 1))
	r.mustReload(t)
	if _, after := get(t, r.url+basemapTile, "Authorization", "Bearer "+token); string(after) == string(before) || len(after) == 0 {
		t.Error("the tile of the source before is served")
	}
	if answer, after := get(t, r.url+roadsTile, "Authorization", "Bearer "+token); string(after) != string(roads) || !strings.Contains(answer.Header.Get("Cache-Status"), "hit") {
		t.Errorf("a tile of an unchanged tileset: %s, and the bytes are the same: %t", answer.Header.Get("Cache-Status"), string(after) == string(roads))
	}

	r.write(t, fmt.Sprintf(reloadKeys, "one.key")+`tilesets: {roads: {source: "s3://tiles/roads/{z}/{x}/{y}.png"}}`+"\n")
	r.mustReload(t)
	if got := r.status(t, basemapTile, token); got != http.StatusNotFound {
		t.Errorf("a removed tileset: got %d", got)
	}
}

// A configuration whose admin listener is on loopback needs no token. The listener that goes on until the restart is not, and does.
func TestReloadOpensNoAdminListenerWithoutAToken(t *testing.T) {
	r := startReloadable(t)
	if status := r.terminate(t); status != 0 {
		t.Fatal(status)
	}
	const secret = "a-token-for-the-admin-listener"
	head := r.head
	_, port, _ := strings.Cut(r.admin, ":")
	r.head = strings.Replace(head, fmt.Sprintf("admin_listen: %q", r.admin), fmt.Sprintf("admin_listen: %q, admin_token: {env: ADMIN_TOKEN}", "0.0.0.0:"+port), 1)
	r.write(t, fmt.Sprintf(reloadKeys, "one.key")+reloadTilesets)
	r.program, _ = start(t, append(baseCredentials(testKey, testSecret), "ADMIN_TOKEN="+secret), "serve", "-c", r.path)
	for name, next := range map[string]string{"another address": head, "none": strings.Replace(head, fmt.Sprintf("admin_listen: %q", r.admin), `admin_listen: ""`, 1)} {
		r.head = next
		r.write(t, fmt.Sprintf(reloadKeys, "one.key")+reloadTilesets)
		for range 2 {
			answer, body := send(t, http.MethodPost, "http://"+r.admin+"/admin/reload", "", "Authorization", "Bearer "+secret)
			if answer.StatusCode != http.StatusOK || !strings.Contains(string(body), `"server.admin_token"`) {
				t.Errorf("%s: got %s %s", name, answer.Status, body)
			}
		}
		if answer, _ := get(t, "http://"+r.admin+"/admin/cache", "Host", "localhost"); answer.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: the listener on all addresses answers %s without a token", name, answer.Status)
		}
	}
}

// A signing key that is taken away is of no use at once, on connections that were open before as well.
func TestReloadRefusesAStolenKeyAtOnce(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	if got := r.status(t, basemapTile, token); got != http.StatusOK {
		t.Fatal(got)
	}
	fresh, _, _ := command(t, "keygen")
	if err := os.WriteFile(filepath.Join(filepath.Dir(r.path), "two.key"), []byte(fresh), 0o600); err != nil {
		t.Fatal(err)
	}
	r.write(t, fmt.Sprintf(reloadKeys, "two.key")+reloadTilesets)
	r.mustReload(t)
	if got := r.status(t, basemapTile, token); got != http.StatusUnauthorized {
		t.Errorf("a token of the key that was taken away: got %d", got)
	}
	if got := r.status(t, basemapTile, mintToken(t, r.path, "--tilesets", "*")); got != http.StatusOK {
		t.Errorf("a token of the new key: got %d", got)
	}
}

// Who is revoked stays revoked, and sessions go on, also where no signing key is configured.
func TestReloadKeepsRevocationsAndSessions(t *testing.T) {
	r := startReloadable(t)
	mallory := mintToken(t, r.path, "--tilesets", "*", "--subject", "mallory")
	alice := mintToken(t, r.path, "--tilesets", "*")
	answer, _ := send(t, http.MethodPost, r.url+"/session", "", "Authorization", "Bearer "+alice)
	cookies := answer.Cookies()
	if len(cookies) == 0 {
		t.Fatal("no session")
	}
	if answer, body := send(t, http.MethodPost, "http://"+r.admin+"/admin/revoke", `{"subject": "mallory"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("%s %s", answer.Status, body)
	}
	for range 2 {
		r.write(t, fmt.Sprintf(reloadKeys, "one.key")+strings.Replace(reloadTilesets, "roads:", "streets:", 1))
		r.mustReload(t)
		if got := r.status(t, basemapTile, mallory); got != http.StatusUnauthorized {
			t.Errorf("a revoked subject: got %d", got)
		}
		if answer, _ := get(t, r.url+basemapTile, "Cookie", cookies[0].Name+"="+cookies[0].Value); answer.StatusCode != http.StatusOK {
			t.Errorf("a session: got %s", answer.Status)
		}
	}
}

// A reload gives nobody a new budget, and a smaller one counts at once.
func TestReloadResetsNoBudget(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	limited := func(more string) {
		t.Helper()
		r.write(t, fmt.Sprintf(reloadKeys, "one.key")+"limits: {requests: {rate: 1/h, burst: 3}}\n"+reloadTilesets+more)
		r.mustReload(t)
	}
	limited("")
	for n, want := range []int{200, 200, 200, 429} {
		if got := r.status(t, basemapTile, token); got != want {
			t.Fatalf("request %d: got %d, want %d", n, got, want)
		}
	}
	limited("  more: {source: \"s3://tiles/other/{z}/{x}/{y}.png\"}\n")
	if got := r.status(t, basemapTile, token); got != http.StatusTooManyRequests {
		t.Errorf("after a reload: got %d", got)
	}
}

// Fifty reloads under load: no request fails, nothing grows, and a download goes on.
func TestReloadUnderLoad(t *testing.T) {
	r := startReloadable(t)
	token := mintToken(t, r.path, "--tilesets", "*")
	count := regexp.MustCompile(`goroutine profile: total (\d+)`)
	goroutines := func() int {
		_, body := get(t, "http://"+r.admin+"/debug/pprof/goroutine?debug=1")
		n, err := strconv.Atoi(string(count.FindSubmatch(body)[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r.mustReload(t)
	first := goroutines()

	// A download that begins before all reloads, and ends after them.
	release := make(chan struct{})
	r.bucket.Put("tiles", "roads/1/0/0.png", fakeaws.Object{Body: append(randomTiles(1)["9/0/0"], make([]byte, 100_000)...)})
	r.bucket.Inject(fakeaws.Fault{Op: "GetObject", Key: "roads/1/0/0.png", HangAt: new(int64(50_000)), Release: release, Times: 1})
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/tiles/roads/1/0/0.png", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	q.Header.Set("Authorization", "Bearer "+token)
	download, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer download.Body.Close()

	var stop atomic.Bool
	var clients sync.WaitGroup
	var good, bad atomic.Int64
	for range 4 {
		clients.Go(func() {
			for n := 0; !stop.Load(); n++ {
				path := []string{basemapTile, roadsTile, "/tiles/basemap.json"}[n%3]
				answer, _, err := try(t.Context(), r.url+path, "Authorization", "Bearer "+token)
				if err == nil && answer.StatusCode == http.StatusOK {
					good.Add(1)
				} else if bad.Add(1) == 1 {
					t.Errorf("%s: %v, %v", path, answer, err)
				}
			}
		})
	}
	for n := range 50 {
		r.write(t, fmt.Sprintf(reloadKeys, "one.key")+reloadTilesets+fmt.Sprintf("  extra-%d: {source: \"s3://tiles/other/{z}/{x}/{y}.png\"}\n", n))
		r.mustReload(t)
	}
	stop.Store(true)
	clients.Wait()
	if bad.Load() != 0 || good.Load() == 0 {
		t.Errorf("%d requests failed, %d were answered", bad.Load(), good.Load())
	}
	close(release)
	if n, err := io.Copy(io.Discard, download.Body); err != nil || n < 100_000 {
		t.Errorf("the download ended with %d bytes and %v", n, err)
	}
	eventually(t, "what was replaced has ended", func() error {
		if now := goroutines(); now > first+10 {
			return fmt.Errorf("%d goroutines, %d before", now, first)
		}
		return nil
	})
}
