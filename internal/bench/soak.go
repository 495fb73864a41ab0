package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"io"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	soakMemoryMiB = 64
	// soakSettle is longer than write_stall, which ends what a client left behind, and than the minute for which idle
	// connections to S3 are kept.
	soakSettle = 75 * time.Second
)

// soakCommand mixes for minutes what tilegate meets in months, under the race detector: hits, misses,
// refusals, clients that leave or do not read, an S3 that fails, purges, revocations, reloads, and a key server that
// is away half of the time. In the end what was taken must have been given back.
func soakCommand(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	minutes := flags.Float64("minutes", 5, "how long")
	if err := flags.Parse(args); err != nil {
		return err
	}
	w, err := l.startSoak(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	if err := w.load(ctx, 10*time.Second); err != nil { // what is made once has been made
		return err
	}
	wait(ctx, soakSettle)
	before, err := w.look(ctx)
	if err != nil {
		return err
	}
	if err := w.load(ctx, time.Duration(*minutes*float64(time.Minute))); err != nil {
		return err
	}
	wait(ctx, soakSettle)
	after, err := w.look(ctx)
	if err != nil {
		return err
	}
	for what, n := range w.counts() {
		l.note("  "+what, strconv.FormatInt(n, 10))
	}
	l.record("goroutines before and after", fmt.Sprintf("%.0f and %.0f", before["go_goroutines"], after["go_goroutines"]), "+ 8 at most", after["go_goroutines"] <= before["go_goroutines"]+8)
	l.record("descriptors before and after", fmt.Sprintf("%.0f and %.0f", before["process_open_fds"], after["process_open_fds"]), "+ 8 at most", after["process_open_fds"] <= before["process_open_fds"]+8)
	heap := (after["go_memstats_heap_inuse_bytes"] - before["go_memstats_heap_inuse_bytes"]) / (1 << 20)
	l.record(fmt.Sprintf("heap in use beyond that before, cache %d MiB", soakMemoryMiB), fmt.Sprintf("%.0f MiB", heap), fmt.Sprintf("≤ %d MiB", 2*soakMemoryMiB), heap <= 2*soakMemoryMiB)
	l.record("requests under way", fmt.Sprintf("%.0f", after["tilegate_requests_in_flight"]), "0", after["tilegate_requests_in_flight"] == 0)
	l.record("fetches under way", fmt.Sprintf("%.0f", after["tilegate_fills_in_flight"]), "0", after["tilegate_fills_in_flight"] == 0)
	l.record("bytes held", fmt.Sprintf("%.0f MiB", after["tilegate_cache_bytes"]/(1<<20)), fmt.Sprintf("≤ %d MiB", soakMemoryMiB), after["tilegate_cache_bytes"] <= soakMemoryMiB<<20)
	exit := w.stop()
	races := bytes.Count(w.stderr(), []byte("WARNING: DATA RACE"))
	panics := bytes.Count(w.stderr(), []byte("panic while answering"))
	l.record("data races, panics, exit", fmt.Sprintf("%d, %d, %v", races, panics, exit), "0, 0, <nil>", races == 0 && panics == 0 && exit == nil)
	return nil
}

// soakWorld is a tilegate with the race detector, and the world around it.
type soakWorld struct {
	*lab
	server *server
	admin  string
	log    string
	config string // the file, and what is in it at first
	text   string
	s3     *httptest.Server
	keys   *httptest.Server
	key    *rsa.PrivateKey
	away   atomic.Bool // the key server
	client *http.Client
	tally  [soakKinds]atomic.Int64
}

const (
	soakHit = iota
	soakMiss
	soakRefused
	soakLeft
	soakUnread
	soakPurge
	soakRevoke
	soakReload
	soakFailed
	soakKinds
)

var soakNames = [soakKinds]string{"hits asked for", "misses asked for", "refusals asked for", "clients that left", "streams not read", "purges", "revocations", "reloads", "answers of 5xx"}

func (w *soakWorld) counts() map[string]int64 {
	counts := map[string]int64{}
	for i, name := range soakNames {
		counts[name] = w.tally[i].Load()
	}
	return counts
}

func (l *lab) startSoak(ctx context.Context) (*soakWorld, error) {
	w := &soakWorld{lab: l, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}, Timeout: time.Minute}, log: filepath.Join(l.dir, "soak.log")}
	binary := filepath.Join(l.dir, "tilegate-race")
	if out, err := exec.CommandContext(ctx, "go", "build", "-race", "-o", binary, "./cmd/tilegate").CombinedOutput(); err != nil { //nolint:gosec // our own package
		return nil, fmt.Errorf("build with -race: %w\n%s", err, out)
	}
	var err error
	if w.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	w.keys = httptest.NewServer(http.HandlerFunc(w.serveKeys))
	w.s3 = httptest.NewServer(http.HandlerFunc(serveUnsteadyS3))
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	if w.admin, err = freeAddress(ctx); err != nil {
		return nil, err
	}
	w.config = filepath.Join(l.dir, "soak.yaml")
	w.text = fmt.Sprintf(`server:
  listen: %q
  admin_listen: %q
  cors: {origins: ["https://app.example.com", "https://*.example.org"]}
  limits: {write_stall: 5s, client_requests: 500}
aws: {region: us-east-1, endpoint: %q, path_style: true}
cache: {memory: %dMiB, fresh: 2s, stale: 10s, missing_for: 1s}
auth:
  signing_keys: [{env: SIGNING_KEY}]
  issuers:
    - {issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256], jwks_url: %q, jwks_refresh: 1s}
tilesets:
  basemap:
    source: "s3://tiles/basemap/{z}/{x}/{y}.png"
`, address, w.admin, w.s3.URL, soakMemoryMiB, w.keys.URL)
	if err := os.WriteFile(w.config, []byte(w.text), 0o600); err != nil {
		return nil, err
	}
	log, err := os.Create(w.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, binary, "serve", "-c", w.config) //nolint:gosec // built above
	cmd.Stderr = log
	cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+benchKey, "AWS_SECRET_ACCESS_KEY="+benchSecret, "AWS_EC2_METADATA_DISABLED=true",
		"SIGNING_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	w.server = &server{url: "http://" + address, cmd: cmd}
	for deadline := time.Now().Add(time.Minute); ; {
		if answer, err := w.ask(ctx, "/ready", ""); err == nil && answer == http.StatusOK {
			return w, nil
		} else if time.Now().After(deadline) {
			w.close()
			return nil, fmt.Errorf("tilegate is not ready: %d, %w\n%s", answer, err, w.stderr())
		}
		wait(ctx, 100*time.Millisecond)
	}
}

func (w *soakWorld) stop() error {
	if err := w.server.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	late := time.AfterFunc(time.Minute, func() { _ = w.server.cmd.Process.Kill() })
	defer late.Stop()
	return w.server.cmd.Wait()
}

func (w *soakWorld) close() {
	if w.server.cmd.ProcessState == nil {
		_ = w.server.cmd.Process.Kill()
		_ = w.server.cmd.Wait() // killed
	}
	w.s3.Close()
	w.keys.Close()
}

func (w *soakWorld) stderr() []byte {
	said, err := os.ReadFile(w.log)
	if err != nil {
		return []byte(err.Error())
	}
	return said
}

// serveKeys is the issuer's key server.
func (w *soakWorld) serveKeys(rw http.ResponseWriter, _ *http.Request) {
	if w.away.Load() {
		http.Error(rw, "away", http.StatusServiceUnavailable)
		return
	}
	encode := base64.RawURLEncoding.EncodeToString
	rw.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(rw).Encode(map[string]any{"keys": []map[string]string{{ // as below
		"kty": "RSA", "kid": "soak", "use": "sig", "alg": "RS256",
		"n": encode(w.key.N.Bytes()), "e": encode(big.NewInt(int64(w.key.E)).Bytes()),
	}}})
}

// serveUnsteadyS3 answers by its key: most tiles are there, some are missing, some are late, and a few
// requests in a hundred fail in one of the ways that S3 has.
func serveUnsteadyS3(rw http.ResponseWriter, r *http.Request) {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, r.URL.Path) // never fails
	of := hash.Sum64()
	if of%10 == 0 && !strings.HasSuffix(r.URL.Path, "/0/0/0.png") {
		rw.Header().Set("Content-Type", "application/xml")
		rw.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(rw, `<Error><Code>NoSuchKey</Code></Error>`) // a client that has gone is meant to be there
		return
	}
	switch mathrand.IntN(100) { //nolint:gosec // a load, no secret
	case 0:
		http.Error(rw, `<Error><Code>SlowDown</Code></Error>`, http.StatusServiceUnavailable)
		return
	case 1:
		http.Error(rw, `<Error><Code>InternalError</Code></Error>`, http.StatusInternalServerError)
		return
	case 2:
		panic(http.ErrAbortHandler)
	case 3, 4, 5, 6:
		time.Sleep(200 * time.Millisecond)
	}
	body := tileBody(1000 + int(of%60_000))
	rw.Header().Set("Etag", fmt.Sprintf(`"%032x-1"`, of)) // of several parts: no MD5
	rw.Header().Set("Content-Length", strconv.Itoa(len(body)))
	half := len(body) / 2
	_, _ = rw.Write(body[:half]) // as above
	if mathrand.IntN(100) == 0 { //nolint:gosec // as above
		panic(http.ErrAbortHandler)
	}
	_, _ = rw.Write(body[half:]) // as above
}

// tokenOf is an issuer's token for a subject.
func (w *soakWorld) tokenOf(subject string) string {
	now := time.Now()
	t := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims{
		"iss": "https://id.example.com/", "aud": "tiles", "sub": subject, "jti": subject + strconv.FormatInt(now.UnixNano(), 36),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "tilesets": []string{"*"},
	})
	t.Header["kid"] = "soak"
	signed, err := t.SignedString(w.key)
	if err != nil {
		return err.Error() // which is refused
	}
	return signed
}

// ask gets a path and reads all of the answer.
func (w *soakWorld) ask(ctx context.Context, path, token string) (status int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.server.url+path, http.NoBody)
	if err != nil {
		return 0, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	r.Header.Set("Origin", "https://app.example.com")
	answer, err := w.client.Do(r)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	if answer.StatusCode >= 500 {
		w.tally[soakFailed].Add(1)
	}
	return answer.StatusCode, errors.Join(err, answer.Body.Close())
}

// post sends JSON to the admin listener.
func (w *soakWorld) post(ctx context.Context, path, body string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+w.admin+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := w.client.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= 300 && answer.StatusCode != http.StatusServiceUnavailable {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return nil
}

// load runs everything at once for a while.
func (w *soakWorld) load(ctx context.Context, length time.Duration) error {
	loading, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var running sync.WaitGroup
	many := func(n int, every time.Duration, kind int, do func(n int) error) {
		for worker := range n {
			running.Go(func() {
				for i := 0; wait(loading, every); i++ {
					w.tally[kind].Add(1)
					_ = do(worker + i*n) // what fails is meant to, and the counts at the end tell
				}
			})
		}
	}
	tokens := make([]string, 20)
	for i := range tokens {
		tokens[i] = w.tokenOf(fmt.Sprintf("viewer-%d", i))
	}
	token := func(i int) string { return tokens[i%len(tokens)] }
	many(8, 5*time.Millisecond, soakHit, func(i int) error {
		_, err := w.ask(loading, fmt.Sprintf("/tiles/basemap/5/%d/%d.png", i%8, i/8%8), token(i))
		return err
	})
	many(8, 10*time.Millisecond, soakMiss, func(int) error {
		_, err := w.ask(loading, fmt.Sprintf("/tiles/basemap/18/%d/%d.png", mathrand.IntN(1<<18), mathrand.IntN(1<<18)), token(0)) //nolint:gosec // a load, no secret
		return err
	})
	many(2, 10*time.Millisecond, soakRefused, func(i int) error {
		_, err := w.ask(loading, []string{"/tiles/basemap/5/1/1.png", "/tiles/elsewhere/5/1/1.png", "/nothing", "/tiles/basemap/05/1/1.png"}[i%4], []string{"", "a.b.c"}[i%2])
		return err
	})
	many(4, 20*time.Millisecond, soakLeft, func(i int) error {
		leaving, leave := context.WithTimeout(loading, time.Duration(i%5)*time.Millisecond)
		defer leave()
		_, err := w.ask(leaving, fmt.Sprintf("/tiles/basemap/17/%d/1.png", i), token(i))
		return err
	})
	unread := streamsUnread("/tiles/basemap/5/1/1.png", true, 50, 0)
	many(4, time.Second, soakUnread, func(int) error {
		conn, err := (&net.Dialer{}).DialContext(loading, "tcp", strings.TrimPrefix(w.server.url, "http://"))
		if err != nil {
			return err
		}
		staying, leave := context.WithTimeout(loading, 7*time.Second) // beyond write_stall
		defer leave()
		stop := context.AfterFunc(staying, func() { _ = conn.Close() })
		defer stop()
		return unread(staying, conn, victim{token: token(0), mounted: func() {}})
	})
	purges := []string{`{"tileset": "basemap"}`, `{"tileset": "basemap", "zoom": "0-5", "soft": true}`, `{"tileset": "basemap", "bbox": [0, 0, 90, 80]}`}
	many(1, 3*time.Second, soakPurge, func(i int) error { return w.post(loading, "/admin/purge", purges[i%len(purges)]) })
	// Every second reload has a tileset more, and every fifth a fault.
	many(1, 2*time.Second, soakReload, func(i int) error {
		more := []string{"", "  other: {source: \"s3://tiles/other/{z}/{x}/{y}.png\"}\n"}[i%2]
		if i%5 == 4 {
			more = "  other: {}\n"
		}
		if err := os.WriteFile(w.config, []byte(w.text+more), 0o600); err != nil {
			return err
		}
		return w.post(loading, "/admin/reload", "")
	})
	many(1, 2*time.Second, soakRevoke, func(i int) error {
		return w.post(loading, "/admin/revoke", fmt.Sprintf(`{"subject": "viewer-%d"}`, 10+i%10))
	})
	running.Go(func() {
		for wait(loading, 5*time.Second) {
			w.away.Store(!w.away.Load())
		}
		w.away.Store(false)
	})
	running.Wait()
	w.client.CloseIdleConnections()
	return ctx.Err()
}

// look reads the metrics.
func (w *soakWorld) look(ctx context.Context) (map[string]float64, error) {
	if err := w.collect(ctx); err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.admin+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Close = true
	answer, err := w.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, err
	}
	found := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			found[name] = n
		}
	}
	if len(found) == 0 {
		return nil, errors.New("/metrics tells nothing")
	}
	return found, nil
}

// collect lets the garbage collector run twice: what is pooled goes with the second.
func (w *soakWorld) collect(ctx context.Context) error {
	for range 2 {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+w.admin+"/debug/pprof/heap?gc=1", http.NoBody)
		if err != nil {
			return err
		}
		r.Close = true
		answer, err := w.client.Do(r)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
	}
	return nil
}
