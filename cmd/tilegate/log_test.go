package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"tilegate/configs"
	"tilegate/internal/fakeaws"
	"tilegate/internal/testenv"
)

// logged is a tilegate process whose standard error the test controls.
type logged struct {
	bucket     *fakeaws.Server
	client     http.Client
	cmd        *exec.Cmd
	url, admin string
	ended      chan struct{} // closed after the exit status is known
	requests   atomic.Int64  // that were answered, and so logged
}

// loggedSetup is what a test can change.
type loggedSetup struct {
	script string // of the shell that starts tilegate; "": serve
	server string // more keys of that section
	level  string // "": error, so that the log contains only requests
}

// serve is a script that puts tilegate in the shell's place.
const serve = `exec "$0" serve -c "$1"`

// startLogged runs tilegate serve on a public tileset.
func startLogged(t *testing.T, stderr *os.File, setup loggedSetup) *logged {
	t.Helper()
	bucket := privateBucket(t)
	bucket.Put("tiles", "basemap/0/0/0.png", fakeaws.Object{Body: randomTiles(1)["9/0/0"]})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	address, admin := freeAddress(t), freeAddress(t)
	config := writeFile(t, "tilegate.yaml", fmt.Sprintf(`server: {listen: %q, admin_listen: %q%s}
logging: {level: %s, probes: true}
aws: {endpoint: %q, sts_endpoint: %q, path_style: true, role: {arn: %q}}
tilesets:
  basemap: {public: true, source: "s3://tiles/basemap/{z}/{x}/{y}.png"}
`, address, admin, setup.server, cmp.Or(setup.level, "error"), bucket.URL(), bucket.URL(), testRole))
	transport := &http.Transport{MaxIdleConnsPerHost: loggedClients}
	t.Cleanup(transport.CloseIdleConnections)
	l := &logged{bucket: bucket, client: http.Client{Transport: transport}, cmd: exec.Command("sh", "-c", cmp.Or(setup.script, serve), self, config), url: "http://" + address, admin: "http://" + admin, ended: make(chan struct{})}
	l.cmd.Env = append(cleanEnvironment(), append(baseCredentials(testKey, testSecret), actAsTilegate+"=1")...)
	l.cmd.Stderr = stderr
	if err := l.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(l.ended)
		_ = l.cmd.Wait() // its status says it
	}()
	t.Cleanup(func() {
		_ = l.cmd.Process.Kill()
		<-l.ended
	})
	eventually(t, "serving", func() error { return l.ask(t, "/tiles/basemap/0/0/0.png") })
	return l
}

// loggedClients is how many requests are sent at a time.
const loggedClients = 8

func (l *logged) ask(t *testing.T, path string) error {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, l.url+path, http.NoBody)
	if err != nil {
		return err
	}
	answer, err := l.client.Do(r)
	if err != nil {
		return err
	}
	l.requests.Add(1)
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	_ = answer.Body.Close() // it has been read
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, answer.Status)
	}
	return nil
}

// askMany sends n requests for a tile and /health, several at a time. Each must be answered with 200.
func (l *logged) askMany(t *testing.T, n int) {
	t.Helper()
	failed := make(chan error, loggedClients)
	var asking sync.WaitGroup
	for range loggedClients {
		asking.Go(func() {
			for i := range n / loggedClients {
				path := "/tiles/basemap/0/0/0.png"
				if i%100 == 0 {
					path = "/health"
				}
				if err := l.ask(t, path); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	asking.Wait()
	l.client.CloseIdleConnections() // a shutdown waits for connections that were never used
	close(failed)
	for err := range failed {
		t.Fatal(err)
	}
}

var droppedMetric = regexp.MustCompile(`(?m)^tilegate_log_lines_dropped_total (\S+)$`)

func (l *logged) dropped(t *testing.T) int64 {
	t.Helper()
	_, body := get(t, l.admin+"/metrics")
	found := droppedMetric.FindSubmatch(body)
	if found == nil {
		t.Fatalf("no tilegate_log_lines_dropped_total in %s", body)
	}
	n, err := strconv.ParseFloat(string(found[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(n)
}

func (l *logged) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := l.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the process to end with a status.
func (l *logged) ends(t *testing.T, status int) {
	t.Helper()
	eventually(t, "the end", func() error {
		select {
		case <-l.ended:
			return nil
		default:
			return errors.New("it still runs")
		}
	})
	if got := l.cmd.ProcessState.ExitCode(); got != status {
		t.Errorf("ended with %s, want status %d", l.cmd.ProcessState, status)
	}
}

func newPipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		_ = w.Close() // again, usually
	})
	return r, w
}

const manyRequests = 10_000 // more lines than wait and the pipe holds

// A log reader that stalls stops no request. When it reads again, the log says how many lines are missing.
func TestLogReaderThatStallsStopsNoRequest(t *testing.T) {
	r, w := newPipe(t)
	server := startLogged(t, w, loggedSetup{})
	_ = w.Close() // the process has its own
	server.askMany(t, manyRequests)
	asked := server.requests.Load()

	type line struct {
		Level, Msg string
		Count      int64
	}
	lines := bufio.NewScanner(r)
	read, reported := int64(0), int64(0)
	next := func() bool {
		if !lines.Scan() {
			return false
		}
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		switch {
		case l.Msg == "request":
			read++
		case l.Msg == "log lines dropped" && l.Level == "WARN":
			reported += l.Count
		default:
			t.Errorf("got the line %s", lines.Text())
		}
		return true
	}
	// A line is logged after its response, so the last ones may come while the pipe is read again.
	for read+reported < asked && next() {
	}
	if counted := server.dropped(t); reported != counted || reported == 0 || read+reported != asked {
		t.Errorf("of %d lines %d came, %d were reported as dropped, %d counted", asked, read, reported, counted)
	}
	if err := server.ask(t, "/health"); err != nil {
		t.Error(err)
	}
	server.signal(t, syscall.SIGTERM)
	for next() {
	}
	if asked++; read+reported != asked {
		t.Errorf("of %d lines %d came by the end, %d were dropped", asked, read, reported)
	}
	server.ends(t, 0)
}

// Without a handler, Go ends the process with SIGPIPE.
func TestLogReaderThatGoesAwayEndsNothing(t *testing.T) {
	r, w := newPipe(t)
	server := startLogged(t, w, loggedSetup{})
	_ = w.Close()
	_ = r.Close()
	server.askMany(t, 1000)
	eventually(t, "lines are counted", func() error {
		if server.dropped(t) == 0 {
			return errors.New("none are")
		}
		return nil
	})
	server.askMany(t, 1000)
	server.signal(t, syscall.SIGTERM)
	server.ends(t, 0)
}

// A standard error on a full disk, closed, or open for reading only stops no request.
func TestLogThatCannotBeWrittenStopsNoRequest(t *testing.T) {
	for _, test := range []struct {
		name, script string
		counted      bool
	}{
		{"full disk", serve + ` 2>/dev/full`, true},
		{"closed", serve + ` 2>&-`, false}, // Go's runtime opens /dev/null instead
		{"open for reading only", serve + ` 2</dev/null`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := os.Stat("/dev/full"); err != nil && test.name == "full disk" {
				testenv.Missing(t, "/dev/full", "run on Linux")
			}
			server := startLogged(t, nil, loggedSetup{script: test.script})
			server.askMany(t, 1000)
			if test.counted {
				eventually(t, "every line is counted", func() error {
					if got, want := server.dropped(t), server.requests.Load(); got != want {
						return fmt.Errorf("%d of %d", got, want)
					}
					return nil
				})
			}
			server.signal(t, syscall.SIGTERM)
			server.ends(t, 0)
		})
	}
}

// The process does not wait for a reader that stalls, even if requests may take an hour to finish.
func TestTerminateEndsAProcessWhoseLogStalls(t *testing.T) {
	_, w := newPipe(t)
	server := startLogged(t, w, loggedSetup{server: ", shutdown_timeout: 1h"})
	server.askMany(t, 1000) // more lines than a pipe holds
	server.signal(t, syscall.SIGTERM)
	server.ends(t, 0)
}

// The message that says why the process failed does not block either.
func TestFailureEndsAProcessWhoseLogStalls(t *testing.T) {
	_, w := newPipe(t)
	server := startLogged(t, w, loggedSetup{server: ", shutdown_timeout: 50ms"})
	server.askMany(t, 1000) // more lines than a pipe holds
	arrived, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	server.bucket.Inject(fakeaws.Fault{
		Op: "GetObject", Key: "basemap/1/0/0.png", Times: 1, HangBeforeHeaders: true, Release: release,
		Met: func(fakeaws.Request) { close(arrived) },
	})
	cut := make(chan error, 1)
	go func() { cut <- server.ask(t, "/tiles/basemap/1/0/0.png") }()
	<-arrived
	server.signal(t, syscall.SIGTERM)
	server.ends(t, 1)
	if err := <-cut; err == nil {
		t.Error("the request that never ended was answered")
	}
}

// Operators send SIGHUP to reload a configuration. It must not cut downloads off.
func TestHangupEndsNothing(t *testing.T) {
	config := writeFile(t, "tilegate.yaml", `server: {listen: "127.0.0.1:0", admin_listen: ""}
aws: {endpoint: "http://127.0.0.1:1"}
tilesets:
  a: {public: true, source: "s3://tiles/{z}/{x}/{y}.png"}
`)
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	const said = `"level":"INFO","msg":"the configuration was reloaded","changed":"","needs_restart":""`
	for i := range 2 {
		if err := server.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the reload is logged", func() error {
			if got := strings.Count(server.log(), said); got != i+1 {
				return fmt.Errorf("%d times, want %d", got, i+1)
			}
			return nil
		})
	}
	if err := wantStatus(t, http.StatusOK, server.url+"/health"); err != nil {
		t.Error(err)
	}
	if status := server.terminate(t); status != 0 {
		t.Errorf("exit status %d, want 0", status)
	}
}

// Under nohup, SIGHUP is ignored before tilegate starts. It stays ignored.
func TestHangupUnderNohupStaysIgnored(t *testing.T) {
	r, w := newPipe(t)
	server := startLogged(t, w, loggedSetup{script: `trap "" HUP; ` + serve, level: "info"})
	_ = w.Close()
	server.signal(t, syscall.SIGHUP)
	server.askMany(t, 100) // time to log it
	server.signal(t, syscall.SIGTERM)
	server.ends(t, 0)
	var log bytes.Buffer
	if _, err := log.ReadFrom(r); err != nil || strings.Contains(log.String(), "SIGHUP") || !strings.Contains(log.String(), `"msg":"request"`) {
		t.Errorf("got %v and the log\n%s", err, log.String())
	}
}

// Lines that net/http writes to Go's standard logger are in the log, in its format.
func TestStandardLoggerGoesToTheLog(t *testing.T) {
	var stderr bytes.Buffer
	before := log.Writer() // not standard error where programs of other tests have overlapped
	err := withLog(configs.Logging{Format: "json", Level: slog.LevelInfo}, &stderr, func(*serviceLog) error {
		log.Print("Unsolicited response received on idle HTTP channel")
		return errWrongTile
	})
	if want := `"level":"WARN","msg":"Unsolicited response received on idle HTTP channel"}` + "\ntilegate: not the tile\n"; !errors.Is(err, errWrongTile) || !strings.HasSuffix(stderr.String(), want) {
		t.Errorf("got %v and %q, want it to end in %q", err, stderr.String(), want)
	}
	if log.Writer() != before {
		t.Error("the standard logger does not write again to where it wrote before")
	}
}
