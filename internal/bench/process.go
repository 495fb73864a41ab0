package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	serverCore = "0" // of the server under test
	loadCore   = "1" // of everything else
)

// server is a process under test.
type server struct {
	url    string
	cmd    *exec.Cmd
	beside *server // one that it needs, and that stops with it
}

// start runs a command on a core and waits until its address answers.
func (l *lab) start(ctx context.Context, core, address string, env []string, name string, args ...string) (*server, error) {
	var log io.Writer
	if os.Getenv("BENCH_VERBOSE") != "" {
		log = os.Stderr
	}
	return l.startLogging(ctx, log, core, address, env, name, args...)
}

// startLogging is start with standard error going to log; nil discards it.
func (l *lab) startLogging(ctx context.Context, log io.Writer, core, address string, env []string, name string, args ...string) (*server, error) {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", core, name}, args...)...) //nolint:gosec // what this file names
	cmd.Env = append(os.Environ(), append([]string{"GOMAXPROCS=1", "AWS_EC2_METADATA_DISABLED=true"}, env...)...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &server{url: "http://" + address, cmd: cmd}
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return s, c.Close()
		}
		if time.Now().After(deadline) {
			s.stop()
			return nil, fmt.Errorf("%s does not answer at %s: %w", name, address, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop asks first: a master that is killed leaves its workers behind.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(10*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	_ = s.cmd.Wait() // it holds nothing worth keeping
	if s.beside != nil {
		s.beside.stop()
	}
}

func freeAddress(ctx context.Context) (string, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

// startSelf runs one of this program's own servers.
func (l *lab) startSelf(ctx context.Context, core string, args ...string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	return l.start(ctx, core, address, nil, l.self, append([]string{args[0], address}, args[1:]...)...)
}

// startReal serves tiles with the configuration that people run: CORS for two origins, one of them a
// pattern, an issuer with a key set, a role with a session policy, the access log in a file, and TLS where
// secure is set.
func (l *lab) startReal(ctx context.Context, endpoint string, secure bool) (*server, error) {
	keys, err := l.startSelf(ctx, loadCore, "serve-keys", filepath.Join(l.dir, "keys.json"))
	if err != nil {
		return nil, err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	certificate := ""
	if secure {
		certificate = "\n  tls: {cert_file: cert.pem, key_file: key.pem}"
	}
	path := filepath.Join(l.dir, "real.yaml")
	text := fmt.Sprintf(`server:
  listen: %q
  admin_listen: ""
  cors: {origins: ["https://app.example.com", "https://*.maps.example.com"]}%s
aws:
  region: us-east-1
  endpoint: %q
  sts_endpoint: %q
  path_style: true
  role: {arn: %q}
cache: {memory: 256MiB, fresh: 1h}
auth:
  issuers:
    - {issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256], jwks_url: %q}
tilesets:
  basemap:
    source: "s3://tiles/basemap/{z}/{x}/{y}.png"
`, address, certificate, endpoint, endpoint, benchRole, keys.url)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		keys.stop()
		return nil, err
	}
	log, err := os.Create(filepath.Join(l.dir, "access.log"))
	if err != nil {
		keys.stop()
		return nil, err
	}
	defer log.Close()
	s, err := l.startLogging(ctx, log, serverCore, address, []string{"AWS_ACCESS_KEY_ID=" + benchKey, "AWS_SECRET_ACCESS_KEY=" + benchSecret}, l.tilegate, "serve", "-c", path)
	if err != nil {
		keys.stop()
		return nil, err
	}
	if secure {
		s.url = "https://" + address
	}
	s.beside = keys
	return s, nil
}

// startTilegate serves tiles from an S3 endpoint with a cache of so many MiB, the access log on. more are further keys.
func (l *lab) startTilegate(ctx context.Context, endpoint string, memoryMiB int, more ...string) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	signing := ""
	if len(more) > 0 {
		signing = "  signing_keys: [{file: signing.key}]\n"
	}
	name := "tilegate-" + address[strings.LastIndexByte(address, ':')+1:] + ".yaml" // of its own: an instance notices when its file changes
	text := fmt.Sprintf(`server: {listen: %q, admin_listen: ""}
aws: {region: us-east-1, endpoint: %q, path_style: true}
cache: {memory: %dMiB, fresh: 1h}
auth:
  issuers:
    - {issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256], key: {file: public.pem}}
%stilesets:
  basemap:
    source: "s3://tiles/basemap/{z}/{x}/{y}.png"
%s`, address, endpoint, memoryMiB, signing, strings.Join(more, ""))
	if err := writeFile(l.dir, name, []byte(text)); err != nil {
		return nil, err
	}
	env := []string{"AWS_ACCESS_KEY_ID=" + benchKey, "AWS_SECRET_ACCESS_KEY=" + benchSecret}
	return l.start(ctx, serverCore, address, env, l.tilegate, "serve", "-c", filepath.Join(l.dir, name))
}

func writeFile(dir, name string, text []byte) error {
	return os.WriteFile(filepath.Join(dir, name), text, 0o600)
}

// hmacSecret signs the token that nginx checks.
const hmacSecret = "a-secret-of-the-bench-for-nginx-alone"

// makeKeys makes the issuer's key pair and one token.
func (l *lab) makeKeys() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "public.pem"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		return err
	}
	exponent := big.NewInt(int64(key.E)).Bytes()
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"bench","alg":"RS256","use":"sig","n":%q,"e":%q}]}`,
		base64.RawURLEncoding.EncodeToString(key.N.Bytes()), base64.RawURLEncoding.EncodeToString(exponent))
	if err := os.WriteFile(filepath.Join(l.dir, "keys.json"), []byte(set), 0o600); err != nil {
		return err
	}
	if err := l.makeCertificate(); err != nil {
		return err
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": "https://id.example.com/", "aud": "tiles", "sub": "bench", "iat": now.Unix(), "exp": now.Add(6 * time.Hour).Unix(), "tilesets": []string{"*"},
	}
	if l.token, err = jwt.NewWithClaims(jwt.SigningMethodRS256, claims).SignedString(key); err != nil {
		return err
	}
	l.hmacToken, err = jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(hmacSecret))
	return err
}

var (
	wrkCount  = regexp.MustCompile(`(\d+) requests in`)
	wrkErrors = regexp.MustCompile(`(?m)^\s*(Non-2xx.*|Socket errors.*)$`)
)

// wrk loads a URL of a server and returns how many requests it answers in a second of its own processor
// time. With a core to itself that is its throughput; where the core is shared with others, it still is
// what its throughput would be. Any error fails it: a ratio of wrong answers means nothing.
func (l *lab) wrk(ctx context.Context, s *server, path, token string, connections int, script string) (perSecond float64, requests int, err error) {
	args := []string{"-c", loadCore, "wrk", "-t1", "--timeout", "30s", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(int(l.length.Seconds())) + "s", "-H", "Authorization: Bearer " + token}
	if script != "" {
		name := filepath.Join(l.dir, "load.lua")
		if err := os.WriteFile(name, []byte(script), 0o600); err != nil {
			return 0, 0, err
		}
		args = append(args, "-s", name)
	}
	before, err := s.processorTime()
	if err != nil {
		return 0, 0, err
	}
	out, err := exec.CommandContext(ctx, "taskset", append(args, s.url+path)...).CombinedOutput() //nolint:gosec // our own arguments
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	after, err := s.processorTime()
	if err != nil {
		return 0, 0, err
	}
	if wrong := wrkErrors.Find(out); wrong != nil {
		return 0, 0, fmt.Errorf("wrk %s: %s", s.url+path, strings.TrimSpace(string(wrong)))
	}
	count := wrkCount.FindSubmatch(out)
	if count == nil {
		return 0, 0, fmt.Errorf("wrk: no count in\n%s", out)
	}
	requests, err = strconv.Atoi(string(count[1]))
	return float64(requests) / (after - before).Seconds(), requests, err
}

// processorTime is what the server and its children have used so far (proc(5), /proc/pid/stat).
func (s *server) processorTime() (time.Duration, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	var ticks int64
	for _, name := range stats {
		text, err := os.ReadFile(name) //nolint:gosec // a path of /proc
		if err != nil {
			continue // it has ended
		}
		pid, rest, _ := strings.Cut(string(text), " ")
		fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:])
		if own := strconv.Itoa(s.cmd.Process.Pid); len(fields) < 13 || pid != own && fields[1] != own {
			continue
		}
		for _, field := range fields[11:13] { // utime, stime
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				return 0, err
			}
			ticks += n
		}
	}
	return time.Duration(ticks) * (time.Second / 100), nil // USER_HZ is 100 wherever Go runs
}

// fetch gets a URL with the token.
func (l *lab) fetch(ctx context.Context, client *http.Client, url string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody) //nolint:gosec // our own server
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+l.token)
	answer, err := client.Do(r) //nolint:gosec // likewise
	if err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, errors.Join(fmt.Errorf("%s: %s", url, answer.Status), answer.Body.Close())
	}
	return answer, nil
}

// resident reads a process's memory in MiB: what it has now, and the most that it ever had.
func (s *server) resident() (now, peak float64, err error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "VmRSS:":
			now = kib / 1024
		case "VmHWM:":
			peak = kib / 1024
		}
	}
	return now, peak, nil
}
