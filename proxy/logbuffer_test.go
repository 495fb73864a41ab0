package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/internal/bubble"
	"tilegate/proxy"
)

const mostWaiting = 1 << 20 // bytes, as the comment of proxy.LogBuffer says

func dropReport(dropped uint64) []byte { return fmt.Appendf(nil, "dropped %d\n", dropped) }

// numbered is the ith line, of 200 bytes.
func numbered(i int) []byte { return fmt.Appendf(nil, "%08d %s\n", i, strings.Repeat("x", 190)) }

func writeLines(t *testing.T, w io.Writer, lines ...[]byte) {
	t.Helper()
	for _, line := range lines {
		if n, err := w.Write(line); n != len(line) || err != nil {
			t.Fatalf("Write(%q): got %d, %v", line, n, err)
		}
	}
}

// stallingWriter blocks until it is released.
type stallingWriter struct {
	release chan struct{}
	mu      sync.Mutex
	text    bytes.Buffer
}

func (s *stallingWriter) Write(b []byte) (int, error) {
	<-s.release
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *stallingWriter) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// When the reader of a pipe stalls, lines beyond 1 MiB are dropped, and the log says how many.
func TestStalledLogReaderBlocksNobody(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	b := proxy.NewLogBuffer(w, dropReport)
	const written = 10_000
	for i := range written {
		writeLines(t, b, numbered(i))
	}

	lines := bufio.NewReader(r)
	// A report stands where the lines are missing that it tells of. There is more than one if the buffer's own goroutine comes late.
	reported := uint64(0)
	for next := 0; next < written; {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		var dropped uint64
		if n, _ := fmt.Sscanf(line, "dropped %d\n", &dropped); n == 1 {
			reported += dropped
			next += int(dropped)
			continue
		}
		if line != string(numbered(next)) {
			t.Fatalf("line %d is %q", next, line)
		}
		next++
	}
	if reported == 0 || reported != b.Dropped() {
		t.Errorf("%d lines were written: %d were reported as dropped, %d counted", written, reported, b.Dropped())
	}
	writeLines(t, b, []byte("after\n"))
	if line, err := lines.ReadString('\n'); line != "after\n" {
		t.Errorf("behind the report: got %q, %v", line, err)
	}
	b.Close(t.Context())
}

// The bound covers the lines that wait and those that are being written, and is used up to the last line.
func TestStalledLogHoldsNoMoreThanItsBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stallingWriter{release: make(chan struct{})}
		b := proxy.NewLogBuffer(w, dropReport)
		const written, length = 10_000, 200
		for i := range written {
			writeLines(t, b, numbered(i))
			if i%1000 == 0 {
				synctest.Wait() // the writer has taken some
			}
		}
		writeLines(t, b, []byte("short\n")) // would fit, but must not come before the report
		close(w.release)
		b.Close(t.Context())
		const kept = mostWaiting / length
		var want bytes.Buffer
		for i := range kept {
			want.Write(numbered(i))
		}
		want.Write(dropReport(written - kept + 1))
		if got := w.String(); got != want.String() {
			t.Errorf("got %d bytes that end in %q, want %d that end in %q", len(got), got[max(0, len(got)-30):], want.Len(), want.String()[want.Len()-30:])
		}
	})
}

// disk has room for a number of bytes.
type disk struct {
	mu   sync.Mutex
	room int
	text bytes.Buffer
}

func (d *disk) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := min(len(b), d.room)
	d.room -= n
	d.text.Write(b[:n])
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (d *disk) grow(by int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.room += by
}

// When a disk is full for a while, each line is either whole in the log or counted as dropped.
func TestFullDiskBehindTheLog(t *testing.T) {
	const line = len("first\n")
	for _, test := range []struct {
		name  string
		rooms []int // bytes: at first, and more after each flush that fails
		want  string
	}{
		{"full from the start", []int{0}, "dropped 3\nfourth\n"},
		{"between two lines", []int{line}, "first\ndropped 2\nfourth\n"},
		{"in a line", []int{line + 3}, "first\nsec\ndropped 2\nfourth\n"},
		{"before a newline", []int{line - 1}, "first\ndropped 3\nfourth\n"},
		{"room for nothing but the newline", []int{3, 1}, "fir\ndropped 3\nfourth\n"},
		{"in the report", []int{0, 4}, "drop\ndropped 3\nfourth\n"},
		{"still full", []int{line, 0, 0}, "first\ndropped 2\nfourth\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &disk{}
				b := proxy.NewLogBuffer(d, dropReport)
				writeLines(t, b, []byte("first\n"), []byte("second\n"), []byte("third\n"))
				for _, room := range test.rooms {
					d.grow(room)
					bubble.Advance(time.Second) // time for an attempt
				}
				d.grow(1000)
				bubble.Advance(time.Second)
				writeLines(t, b, []byte("fourth\n"))
				b.Close(t.Context())
				if got := d.text.String(); got != test.want {
					t.Errorf("got %q, want %q", got, test.want)
				}
			})
		})
	}
}

// While a log fails, every line is counted at once, not only when the buffer is full.
func TestFailingLogIsCountedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		b := proxy.NewLogBuffer(d, dropReport)
		for i := range 5 {
			writeLines(t, b, numbered(i))
			bubble.Advance(time.Second)
			if got := b.Dropped(); got != uint64(i+1) {
				t.Errorf("after %d lines: %d are counted", i+1, got)
			}
		}
		d.grow(1000)
		b.Close(t.Context())
		if got, want := d.text.String(), "dropped 5\n"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

// The lines of each of several goroutines stay whole and in order.
func TestLogLinesStayWholeAndInOrder(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := proxy.NewLogBuffer(w, dropReport)
	const writers, each = 8, 4000
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() {
			var out io.Writer = b
			if i%2 == 0 {
				out = b.Prompt()
			}
			for j := range each {
				_, _ = out.Write(fmt.Appendf(nil, "%d %d %s\n", i, j, strings.Repeat("x", 20*i)))
			}
		})
	}
	go func() {
		writing.Wait()
		b.Close(context.Background())
		_ = w.Close()
	}()
	next := [writers]int{}
	read, reported := 0, 0
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var i, j, n int
		var filler string
		if _, err := fmt.Sscanf(lines.Text(), "dropped %d", &n); err == nil {
			reported += n
			continue
		}
		_, _ = fmt.Sscan(lines.Text(), &i, &j, &filler)
		if len(filler) != 20*i || j < next[i] {
			t.Fatalf("got %q after line %d of this writer", lines.Text(), next[i]-1)
		}
		next[i] = j + 1
		read++
	}
	if read+reported != writers*each {
		t.Errorf("%d lines were written: %d came, %d were reported as dropped", writers*each, read, reported)
	}
}

// An event is in the log at once, an access line at most a fifth of a second later.
func TestPromptLogLineDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stallingWriter{release: make(chan struct{})}
		close(w.release)
		b := proxy.NewLogBuffer(w, dropReport)
		defer b.Close(t.Context())
		bubble.Advance(time.Millisecond)
		writeLines(t, b, []byte("request\n"))
		synctest.Wait()
		if got := w.String(); got != "" {
			t.Errorf("got %q at once: a system call for each request", got)
		}
		writeLines(t, b.Prompt(), []byte("event\n"))
		synctest.Wait()
		if got := w.String(); got != "request\nevent\n" {
			t.Errorf("got %q after the event", got)
		}
		writeLines(t, b, []byte("request\n"))
		bubble.Advance(200 * time.Millisecond)
		synctest.Wait()
		if got := w.String(); got != "request\nevent\nrequest\n" {
			t.Errorf("got %q after a fifth of a second", got)
		}
	})
}

func TestCloseOfAStalledLogEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &stallingWriter{release: make(chan struct{})}
		defer close(w.release) // the goroutine that writes ends before the bubble does
		b := proxy.NewLogBuffer(w, dropReport)
		writeLines(t, b, []byte("line\n"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		b.Close(ctx)
		if took := time.Since(began); took != time.Second {
			t.Errorf("took %s, want the context's second", took)
		}
		writeLines(t, b.Prompt(), []byte("late\n")) // harmless
	})
}
