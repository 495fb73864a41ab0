package wire_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/proxy/wire"
)

// start serves handle on a real listener, and returns its address.
func start(t *testing.T, config *tls.Config, handle func(*wire.Writer, *http.Request)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.Pool // as the proxy does, so that one which is used too late serves somebody else
	writers.New = func() any { return new(wire.Writer) }
	server := &wire.Server{TLS: config, ReadHeader: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w := writers.Get().(*wire.Writer)
		w.Begin(rw, r, time.Now(), time.Minute)
		handle(w, r)
		w.End()
		writers.Put(w)
	})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, l, time.Minute) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// echo answers with a field, a status and a body that the request chose.
func echo(w *wire.Writer, r *http.Request) {
	q := r.URL.Query()
	status, _ := strconv.Atoi(q.Get("status"))
	body := strings.Repeat("x", len(q.Get("who"))) + strings.Repeat("y", atoi(q.Get("size")))
	w.Set("X-Who", []string{q.Get("who")})
	w.Set("X-Twice", []string{"a", "b"})
	w.Set("X-Gone", []string{"no"})
	w.Del("X-Gone")
	w.Set("Content-Type", []string{"text/plain"})
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Set("Content-Length", []string{strconv.Itoa(len(body))})
	}
	w.WriteHeader(status)
	if r.Method != http.MethodHead && status == http.StatusOK {
		_ = w.WriteWhole([]byte(body)) // the client sees it
	}
}

func atoi(s string) int {
	n, _ := strconv.Atoi(s)
	return n
}

// The fields of an answer never reach another one, whatever the answers are and however they are mixed: not
// on the same connection, and not on another that uses the same memory.
func TestFieldsStayWithTheirAnswer(t *testing.T) {
	certificate := httptest.NewUnstartedServer(nil)
	certificate.StartTLS()
	defer certificate.Close()
	for name, config := range map[string]*tls.Config{"cleartext": nil, "TLS": {Certificates: certificate.TLS.Certificates, NextProtos: []string{"http/1.1"}}, "HTTP/2": {Certificates: certificate.TLS.Certificates, NextProtos: []string{"h2"}}} {
		t.Run(name, func(t *testing.T) {
			address := start(t, config, echo)
			var clients sync.WaitGroup
			for client := range 8 {
				clients.Go(func() {
					scheme := "http"
					transport := &http.Transport{}
					defer transport.CloseIdleConnections()
					if config != nil {
						scheme = "https"
						transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
						transport.ForceAttemptHTTP2 = name == "HTTP/2"
					}
					for i := range 60 {
						who := fmt.Sprintf("%d-%d", client, i)
						status := []int{200, 304, 200, 204, 404, 200}[i%6]
						method := []string{"GET", "GET", "HEAD", "GET", "GET"}[i%5]
						size := []int{0, 10, 3000, 3700, 5000, 20_000, 60_000}[i%7]
						r, err := http.NewRequestWithContext(context.Background(), method, fmt.Sprintf("%s://%s/?who=%s&status=%d&size=%d", scheme, address, who, status, size), http.NoBody)
						if err != nil {
							t.Error(err)
							return
						}
						answer, err := transport.RoundTrip(r)
						if err != nil {
							t.Errorf("%s: %v", who, err)
							return
						}
						body, err := io.ReadAll(answer.Body)
						_ = answer.Body.Close()
						want := 0
						if method == "GET" && status == 200 {
							want = len(who) + size
						}
						if status != 404 && (err != nil || len(body) != want) || answer.StatusCode != status {
							t.Errorf("%s: got %d, %d bytes, %v, want %d, %d bytes", who, answer.StatusCode, len(body), err, status, want)
						}
						if got := answer.Header["X-Who"]; len(got) != 1 || got[0] != who {
							t.Errorf("got the field of %q, want %q", got, who)
						}
						if got := answer.Header["X-Twice"]; len(got) != 2 || answer.Header["X-Gone"] != nil {
							t.Errorf("%s: got X-Twice %q, X-Gone %q", who, got, answer.Header["X-Gone"])
						}
						if status == 404 {
							return // its body is missing: net/http closes the connection
						}
					}
				})
			}
			clients.Wait()
		})
	}
}

// The one who chooses a value must not be able to begin another field, or the body.
func TestAValueWithALineBreakIsNoField(t *testing.T) {
	for _, value := range []string{"a\r\nX-Evil: yes", "a\nX-Evil: yes", "a\r\n\r\n<html>", "a\rX-Evil: yes"} {
		address := start(t, nil, func(w *wire.Writer, _ *http.Request) {
			w.Set("X-Value", []string{value})
			_ = w.WriteWhole([]byte("body"))
		})
		answer, err := http.Get("http://" + address)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || string(body) != "body" || answer.Header.Get("X-Evil") != "" {
			t.Errorf("%q: got %v, body %q, %v", value, answer.Header, body, err)
		}
	}
}

func TestAHeaderTooLongForLinesIsSentByNetHTTP(t *testing.T) {
	long := strings.Repeat("v", 9000)
	address := start(t, nil, func(w *wire.Writer, r *http.Request) {
		if r.URL.Path == "/long" {
			w.Set("X-Long", []string{long})
		}
		w.Set("X-Path", []string{r.URL.Path})
		_ = w.WriteWhole([]byte("body"))
	})
	for _, path := range []string{"/short", "/long", "/short", "/long"} {
		answer, err := http.Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		want := ""
		if path == "/long" {
			want = long
		}
		if err != nil || string(body) != "body" || answer.Header.Get("X-Path") != path || answer.Header.Get("X-Long") != want {
			t.Errorf("%s: got %v, body %q, %v", path, answer.Header, body, err)
		}
	}
}

// Pipelined requests, a body that is awaited with 100 Continue, and HTTP/1.0 each get their own answer.
func TestFieldsOfRawRequests(t *testing.T) {
	address := start(t, nil, func(w *wire.Writer, r *http.Request) {
		sent, _ := io.ReadAll(r.Body)
		w.Set("X-Path", []string{r.URL.Path})
		_ = w.WriteWhole(append([]byte("got "), sent...))
	})
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const requests = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n" +
		"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello" +
		"HEAD /c HTTP/1.1\r\nHost: x\r\n\r\n" +
		"GET /d HTTP/1.0\r\nHost: x\r\n\r\n"
	if _, err := io.WriteString(conn, requests); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(conn)
	for _, want := range []struct{ method, path, body string }{{"GET", "/a", "got "}, {"POST", "/b", "got hello"}, {"HEAD", "/c", ""}, {"GET", "/d", "got "}} {
		answer, err := http.ReadResponse(answers, &http.Request{Method: want.method})
		if err == nil && answer.StatusCode == http.StatusContinue {
			answer, err = http.ReadResponse(answers, &http.Request{Method: want.method})
		}
		if err != nil {
			t.Fatalf("%s: %v", want.path, err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil || string(body) != want.body || answer.Header.Get("X-Path") != want.path {
			t.Errorf("%s: got %v, body %q, %v", want.path, answer.Header, body, err)
		}
	}
	if rest, err := io.ReadAll(answers); err != nil || len(rest) > 0 {
		t.Errorf("after the last answer: %q, %v", rest, err)
	}
}

// net/http sends a small answer when the handler has returned. By then its Writer may serve another request,
// on another connection.
func TestAnAnswerThatIsSentLateKeepsItsFields(t *testing.T) {
	var shared wire.Writer
	ended, reused := make(chan struct{}), make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &wire.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/second" {
			<-ended
		}
		shared.Begin(rw, r, time.Now(), time.Minute)
		shared.Set("X-Path", []string{r.URL.Path})
		shared.WriteHeader(http.StatusNoContent)
		shared.End()
		if r.URL.Path == "/second" {
			close(reused)
		} else {
			close(ended)
			<-reused
		}
	})}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, l, time.Minute) }()
	var clients sync.WaitGroup
	for _, path := range []string{"/firsts", "/second"} { // of one length
		clients.Go(func() {
			answer, err := http.Get("http://" + l.Addr().String() + path)
			if err != nil {
				t.Error(err)
				return
			}
			_ = answer.Body.Close()
			if got := answer.Header.Get("X-Path"); got != path {
				t.Errorf("%s: got the fields of %q", path, got)
			}
		})
	}
	clients.Wait()
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
