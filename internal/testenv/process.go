package testenv

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	startTimeout = 60 * time.Second // a loaded machine with two cores needs many
	stopTimeout  = 10 * time.Second
	pollInterval = 20 * time.Millisecond
	startTries   = 3
)

// run starts what command returns for a free loopback address, waits until readyPath answers with a
// status below 500, and stops it when the test ends. Another process may take the port in between,
// therefore it tries again with another one.
func run(t testing.TB, readyPath string, command func(address string) *exec.Cmd) (address string) {
	t.Helper()
	for try := 1; ; try++ {
		address = freeAddress(t)
		p := begin(t, command(address))
		err := p.waitReady(t.Context(), "http://"+address+readyPath)
		if err == nil {
			return address
		}
		if try == startTries || !strings.Contains(strings.ToLower(p.output.String()), "address already in use") {
			t.Fatalf("%s: %v; its output:\n%s", p.cmd.Path, err, p.output.String())
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

type process struct {
	cmd    *exec.Cmd
	output tail
	ended  chan struct{} // closed after err was set
	err    error
}

func begin(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, &p.output
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd.Path, p.output.String())
		}
	})
	return p
}

// stop asks politely first, then kills the whole group: nginx and varnishd have workers.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(stopTimeout):
	}
	killGroup(p.cmd)
	<-p.ended
}

func (p *process) waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	client := &http.Client{
		Timeout:       startTimeout / 10,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	err := poll(ctx, p.ended, func() bool {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return false
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return response.StatusCode < 500
	})
	if errors.Is(err, errEnded) && p.err != nil {
		return p.err
	}
	return err
}

var (
	errEnded    = errors.New("ended while it should serve")
	errNotReady = errors.New("not ready in time")
)

// poll returns nil once ready does, or why it gave up.
func poll(ctx context.Context, ended <-chan struct{}, ready func() bool) error {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ended:
			return errEnded
		case <-ctx.Done():
			return errNotReady
		case <-ticker.C:
		}
	}
	return nil
}

// tail keeps the last bytes that were written.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const maxTail = 64 << 10

func (o *tail) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(b)
	o.buf.Next(o.buf.Len() - min(o.buf.Len(), maxTail))
	return n, err
}

func (o *tail) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
