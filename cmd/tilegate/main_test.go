package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// actAsTilegate makes the test binary the program itself: tests that need a process of their own, with
// signals and an exit status, start it so.
const actAsTilegate = "TILEGATE_TEST_ACT_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(actAsTilegate) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program is a tilegate process under test.
type program struct {
	cmd    *exec.Cmd
	url    string // where it serves; "" until it says so
	mu     sync.Mutex
	stderr bytes.Buffer
	ended  chan struct{}
}

// start runs tilegate with args. The process ends with the test at the latest.
func start(t *testing.T, env []string, args ...string) (p *program, stdout *bufio.Reader) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p = &program{cmd: exec.Command(self, args...), ended: make(chan struct{})}
	p.cmd.Env = append(cleanEnvironment(), append(env, actAsTilegate+"=1")...)
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	errs, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	serving := make(chan string, 1)
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(errs)
		for lines.Scan() {
			p.mu.Lock()
			p.stderr.Write(lines.Bytes())
			p.stderr.WriteByte('\n')
			p.mu.Unlock()
			var line struct{ Msg, Address string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "serving" {
				serving <- line.Address
			}
		}
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		_ = p.cmd.Wait()
		if t.Failed() {
			log := strings.Split(p.log(), "\n")
			t.Logf("tilegate %s wrote last:\n%s", strings.Join(args, " "), strings.Join(log[max(0, len(log)-20):], "\n"))
		}
	})
	if args[0] == "serve" {
		select {
		case address := <-serving:
			p.url = "http://" + address
		case <-p.ended:
			t.Fatalf("tilegate ended before it served:\n%s", p.log())
		}
	}
	return p, bufio.NewReader(out)
}

func (p *program) log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stderr.String()
}

// terminate asks the process to end, and returns its exit status once it has.
func (p *program) terminate(t *testing.T) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return p.wait()
}

func (p *program) wait() int {
	<-p.ended
	_ = p.cmd.Wait() // the exit status says it
	return p.cmd.ProcessState.ExitCode()
}

// cleanEnvironment is ours without what configures AWS or tilegate.
func cleanEnvironment() []string {
	env := []string{"AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=" + os.DevNull, "AWS_SHARED_CREDENTIALS_FILE=" + os.DevNull}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "TILEGATE_") {
			env = append(env, v)
		}
	}
	return env
}

// writeFile puts text into a file of the test's own.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// command runs one command in this process.
func command(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, &out, &errs)
	if err != nil {
		errs.WriteString(err.Error())
	}
	return out.String(), errs.String(), exitStatus(err)
}

// get asks for a URL; headers are name, value, name, value.
func get(t *testing.T, url string, headers ...string) (*http.Response, []byte) {
	t.Helper()
	answer, body, err := try(t.Context(), url, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return answer, body
}

func try(ctx context.Context, url string, headers ...string) (*http.Response, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, nil, err
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(answer.Body)
	return answer, body, errors.Join(err, answer.Body.Close())
}
