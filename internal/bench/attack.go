package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	attackMemoryMiB = 128
	attackStreams   = 128 // server.limits.streams, for the bare server too
	goodRate        = 800 // requests of good clients in a second
	longestMount    = time.Minute
	measuring       = 8 * time.Second
	recovering      = time.Minute
)

// attackCommand is bench's subcommand: attack [NAME...]. Each attack is made on tilegate and on a bare net/http
// server in turn, with good clients beside it.
func attackCommand(ctx context.Context, l *lab, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(attacks, func(a attack) bool { return a.name == name }) {
			return fmt.Errorf("no attack is called %q", name)
		}
	}
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(tileSize))
	if err != nil {
		return err
	}
	defer s3.stop()
	var failures []error
	for _, a := range attacks {
		if len(names) > 0 && !slices.Contains(names, a.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "attack %s …\n", a.name)
		if err := l.attack(ctx, a, s3.url); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", a.name, err))
		}
	}
	return errors.Join(failures...)
}

// measured is one server's part of a round.
type measured struct {
	before, during              beside
	workedOff                   time.Duration // from when all connections had begun until the server was calm
	first, peak, after          float64       // resident, MiB
	files, filesAfter           int
	goroutines, goroutinesAfter float64
}

func (l *lab) attack(ctx context.Context, a attack, s3 string) error {
	var ours, bare []measured
	for round := range l.rounds {
		tilegate, admin, err := l.startAttacked(ctx, s3)
		if err != nil {
			return err
		}
		var m measured
		if err = l.fill(ctx, tilegate); err == nil {
			m, err = l.besides(ctx, a, tilegate, admin, round == l.rounds-1)
		}
		tilegate.stop()
		if err != nil {
			return err
		}
		ours = append(ours, m)
		server, err := l.startSelf(ctx, serverCore, "serve-limited")
		if err != nil {
			return err
		}
		m, err = l.besides(ctx, a, server, "", false)
		server.stop()
		if err != nil {
			return err
		}
		bare = append(bare, m)
	}
	l.note(a.name+": "+a.what, "")
	middle := func(all []measured, of func(measured) float64) float64 {
		var values []float64
		for _, m := range all {
			values = append(values, of(m))
		}
		return median(values)
	}
	hits := func(m measured) float64 { return m.during.hits }
	p99 := func(m measured) float64 { return m.during.p99 }
	seconds := measuring.Seconds()
	l.note("  without it: hits in a second, p99, of bare net/http", fmt.Sprintf("%.0f, %.1f ms; %.0f, %.1f ms",
		middle(ours, func(m measured) float64 { return m.before.hits })/seconds*2, middle(ours, func(m measured) float64 { return m.before.p99 }),
		middle(bare, func(m measured) float64 { return m.before.hits })/seconds*2, middle(bare, func(m measured) float64 { return m.before.p99 })))
	workedOff := func(m measured) float64 { return m.workedOff.Seconds() }
	l.note("  worked off what it asked for at first, and bare net/http", fmt.Sprintf("after %.1f and %.1f s", middle(ours, workedOff), middle(bare, workedOff)))
	ratio := middle(ours, hits) / middle(bare, hits)
	l.record("  hits of good clients beside it, of bare net/http's", fmt.Sprintf("%.2f (%.0f and %.0f in a second)", ratio, middle(ours, hits)/seconds, middle(bare, hits)/seconds), "≥ 0.80", ratio >= 0.80)
	slower := middle(ours, p99) / middle(bare, p99)
	l.record("  their p99, of bare net/http's", fmt.Sprintf("%.2f (%.1f and %.1f ms)", slower, middle(ours, p99), middle(bare, p99)), "≤ 2.00", slower <= 2)
	last := ours[len(ours)-1]
	grown := last.after / last.first
	l.record("  resident: first, at most, a minute after", fmt.Sprintf("%.0f, %.0f, %.0f MiB: %.2f ×", last.first, last.peak, last.after, grown), "≤ 1.30 ×", grown <= 1.3)
	l.note("  resident of bare net/http at most", fmt.Sprintf("%.0f MiB", middle(bare, func(m measured) float64 { return m.peak })))
	l.record("  goroutines and descriptors, before and after", fmt.Sprintf("%.0f, %d and %.0f, %d", last.goroutines, last.files, last.goroutinesAfter, last.filesAfter),
		"the same", last.goroutinesAfter <= last.goroutines+8 && last.filesAfter <= last.files+8)
	return nil
}

// fill asks for as many tiles as the cache holds, as it is in use.
func (l *lab) fill(ctx context.Context, s *server) error {
	const workers, tiles = 8, attackMemoryMiB << 20 / tileSize
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	defer client.CloseIdleConnections()
	failed := make(chan error, workers)
	for worker := range workers {
		go func() {
			for i := worker; i < tiles; i += workers {
				answer, err := l.fetch(ctx, client, fmt.Sprintf("%s/tiles/basemap/14/%d/1.png", s.url, i))
				if err == nil {
					_, err = io.Copy(io.Discard, answer.Body)
					err = errors.Join(err, answer.Body.Close())
				}
				if err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// besides measures good clients without the attack and beside it, and with recover what is left of it.
func (l *lab) besides(ctx context.Context, a attack, s *server, admin string, recovery bool) (m measured, err error) {
	tile := s.url + "/tiles/basemap/7/66/44.png"
	if _, err = l.good(ctx, tile, goodRate, time.Second); err != nil { // warm
		return m, err
	}
	if m.before, err = l.good(ctx, tile, goodRate, measuring/2); err != nil {
		return m, err
	}
	if m.first, _, err = s.resident(); err != nil {
		return m, err
	}
	if m.files, err = s.files(); err != nil {
		return m, err
	}
	if recovery {
		if m.goroutines, err = goroutines(ctx, admin); err != nil {
			return m, err
		}
	}
	address := strings.TrimPrefix(s.url, "http://")
	attacking := l.yielding(ctx, "attack-process", a.name, address, l.token)
	said, err := attacking.StdoutPipe()
	if err != nil {
		return m, err
	}
	if err = attacking.Start(); err != nil {
		return m, err
	}
	late := time.AfterFunc(longestMount, func() { _ = said.Close() })
	_, _ = bufio.NewReader(said).ReadString('\n') // it has mounted, or is as far as it gets
	late.Stop()
	m.workedOff = s.workOff(ctx)
	m.during, err = l.good(ctx, tile, goodRate, measuring)
	_ = attacking.Process.Kill() // its connections end with it
	_ = attacking.Wait()         // killed
	if err != nil || !recovery {
		_, m.peak, _ = s.resident()
		return m, err
	}
	wait(ctx, recovering)
	if m.after, m.peak, err = s.resident(); err != nil {
		return m, err
	}
	if m.filesAfter, err = s.files(); err != nil {
		return m, err
	}
	m.goroutinesAfter, err = goroutines(ctx, admin)
	return m, err
}

// workOff waits until a server takes less than a third of its core, and returns for how long. It does not wait for long where an
// attack keeps the server busy.
func (s *server) workOff(ctx context.Context) time.Duration {
	const look, longest = 250 * time.Millisecond, 10 * time.Second
	begun := time.Now()
	before, _ := s.processorTime()
	for wait(ctx, look) && time.Since(begun) < longest {
		now, _ := s.processorTime() // it is zero for a process that has ended, which good clients notice
		if now-before < look/3 {
			break
		}
		before = now
	}
	return time.Since(begun)
}

// files counts a process's descriptors.
func (s *server) files() (int, error) {
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.cmd.Process.Pid))
	return len(open), err
}

// goroutines reads their number from an admin listener.
func goroutines(ctx context.Context, admin string) (n float64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	r.Close = true
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err
	}
	defer answer.Body.Close()
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "go_goroutines "); ok {
			return strconv.ParseFloat(text, 64)
		}
	}
	return 0, errors.New("/metrics tells no number of goroutines")
}

// startAttacked starts a tilegate with an admin listener.
func (l *lab) startAttacked(ctx context.Context, endpoint string) (s *server, admin string, err error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, "", err
	}
	if admin, err = freeAddress(ctx); err != nil {
		return nil, "", err
	}
	path := filepath.Join(l.dir, "attacked.yaml")
	text := fmt.Sprintf(`server:
  listen: %q
  admin_listen: %q
  limits: {streams: %d}
aws: {region: us-east-1, endpoint: %q, path_style: true}
cache: {memory: %dMiB, fresh: 1h}
auth:
  issuers:
    - {issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256], key: {file: public.pem}}
tilesets:
  basemap:
    source: "s3://tiles/basemap/{z}/{x}/{y}.png"
`, address, admin, attackStreams, endpoint, attackMemoryMiB)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	env := []string{"AWS_ACCESS_KEY_ID=" + benchKey, "AWS_SECRET_ACCESS_KEY=" + benchSecret}
	s, err = l.start(ctx, serverCore, address, env, l.tilegate, "serve", "-c", path)
	return s, admin, err
}

// serveLimited is a bare net/http server with tilegate's limits: serve-limited ADDRESS. It answers a tile
// to whoever sends a token, and 401 to others.
func serveLimited(_ context.Context, args []string) error {
	body := tileBody(tileSize)
	header := http.Header{
		"Content-Type": {"image/png"}, "Content-Length": {strconv.Itoa(tileSize)}, "Cache-Control": {"private, max-age=300"},
		"Etag": {`"0123456789abcdef0123456789abcdef"`}, "Last-Modified": {"Tue, 14 Nov 2023 22:13:20 GMT"},
	}
	const refusal = `{"type":"about:blank","title":"Unauthorized","status":401,"detail":"This needs an access token."}`
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		if r.Header["Authorization"] == nil {
			h["Content-Type"] = []string{"application/problem+json"}
			h["Www-Authenticate"] = []string{"Bearer"}
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, refusal) // a client that has gone is the load's own doing
			return
		}
		for name, value := range header {
			h[name] = value
		}
		_, _ = w.Write(body) // as above
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return (&http.Server{
		Addr: args[0], Handler: handler, Protocols: protocols, MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: attackStreams, WriteByteTimeout: 30 * time.Second},
	}).ListenAndServe()
}
