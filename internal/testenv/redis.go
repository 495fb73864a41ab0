//go:build unix

package testenv

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const redisInstall = "apt-get install redis-server redis-sentinel redis-tools"

// RedisServer is a redis-server that keeps nothing on disk.
type RedisServer struct {
	Address string

	args    []string
	process *process
	paused  bool
}

// Redis starts a redis-server; settings are further ones of its command line, such as "--maxmemory", "10mb".
func Redis(t testing.TB, settings ...string) *RedisServer {
	t.Helper()
	return startRedis(t, find(t, redisInstall, "redis-server"), func(address string) []string {
		_, port, _ := net.SplitHostPort(address)
		return append([]string{"--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir()}, settings...)
	})
}

// RedisTLS starts a redis-server that speaks TLS alone, with the certificate and key in two files.
func RedisTLS(t testing.TB, certFile, keyFile string) *RedisServer {
	t.Helper()
	return startRedis(t, find(t, redisInstall, "redis-server"), func(address string) []string {
		_, port, _ := net.SplitHostPort(address)
		return []string{
			"--bind", "127.0.0.1", "--port", "0", "--tls-port", port, "--save", "", "--appendonly", "no", "--dir", t.TempDir(),
			"--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-auth-clients", "no",
		}
	})
}

// RedisSentinel starts a sentinel that watches a server under the name of tiles, and fails over after a second.
func RedisSentinel(t testing.TB, server *RedisServer) *RedisServer {
	t.Helper()
	program := find(t, redisInstall, "redis-sentinel")
	host, port, _ := net.SplitHostPort(server.Address)
	return startRedis(t, program, func(address string) []string {
		_, own, _ := net.SplitHostPort(address)
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\nsentinel monitor tiles %s %s 1\nsentinel down-after-milliseconds tiles 1000\nsentinel failover-timeout tiles 3000\n", own, host, port)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{file}
	})
}

// RedisCluster starts three redis-servers and makes one cluster of them.
func RedisCluster(t testing.TB) []*RedisServer {
	t.Helper()
	cli := find(t, redisInstall, "redis-cli")
	args := []string{"--cluster", "create"}
	var nodes []*RedisServer
	for range 3 {
		// The port of the cluster's own protocol is 10,000 above by default, and may be taken or beyond the last.
		_, bus, _ := net.SplitHostPort(freeAddress(t))
		node := Redis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", bus)
		nodes = append(nodes, node)
		args = append(args, node.Address)
	}
	args = append(args, "--cluster-yes")
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	if out, err := exec.CommandContext(ctx, cli, args...).CombinedOutput(); err != nil {
		t.Fatalf("redis-cli --cluster create: %v\n%s", err, out)
	}
	return nodes
}

func startRedis(t testing.TB, program string, args func(address string) []string) *RedisServer {
	t.Helper()
	for try := 1; ; try++ {
		s := &RedisServer{Address: freeAddress(t)}
		s.args = append([]string{program}, args(s.Address)...)
		s.process = begin(t, exec.Command(s.args[0], s.args[1:]...))
		t.Cleanup(func() { s.Resume(t) }) // before begin's own: a paused process does not end
		err := s.waitListening(t.Context())
		if err == nil {
			return s
		}
		if try == startTries || !strings.Contains(strings.ToLower(s.process.output.String()), "address already in use") {
			t.Fatalf("%s: %v; its output:\n%s", program, err, s.process.output.String())
		}
	}
}

func (s *RedisServer) waitListening(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return poll(ctx, s.process.ended, func() bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.Address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// Kill ends the server at once, as a crash does.
func (s *RedisServer) Kill(t testing.TB) {
	t.Helper()
	if err := s.process.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	<-s.process.ended
}

// Restart starts a killed server again, empty, at its address.
func (s *RedisServer) Restart(t testing.TB) {
	t.Helper()
	s.process = begin(t, exec.Command(s.args[0], s.args[1:]...))
	if err := s.waitListening(t.Context()); err != nil {
		t.Fatalf("%v; its output:\n%s", err, s.process.output.String())
	}
}

// Pause stops the server without closing a connection; Resume lets it go on.
func (s *RedisServer) Pause(t testing.TB) {
	t.Helper()
	s.signal(t, syscall.SIGSTOP)
	s.paused = true
}

// Resume lets a paused server go on.
func (s *RedisServer) Resume(t testing.TB) {
	t.Helper()
	if s.paused {
		s.paused = false
		s.signal(t, syscall.SIGCONT)
	}
}

func (s *RedisServer) signal(t testing.TB, which syscall.Signal) {
	t.Helper()
	if err := s.process.cmd.Process.Signal(which); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// Do sends one command and returns the first line of its reply.
func (s *RedisServer) Do(t testing.TB, words ...string) string {
	t.Helper()
	answer, err := s.Try(t, words...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Try is Do for a server that may end the connection: a sentinel has all of them ended where it makes a replica the master.
func (s *RedisServer) Try(t testing.TB, words ...string) (string, error) {
	t.Helper()
	conn, err := (&net.Dialer{Timeout: startTimeout}).DialContext(t.Context(), "tcp", s.Address)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(startTimeout)); err != nil {
		return "", err
	}
	command := fmt.Sprintf("*%d\r\n", len(words))
	for _, word := range words {
		command += fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)
	}
	if _, err := io.WriteString(conn, command); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return strings.TrimSpace(line), err
}
