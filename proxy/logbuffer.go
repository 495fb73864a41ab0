package proxy

import (
	"bytes"
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logDelay   = 200 * time.Millisecond // how long a line waits at most before it is written
	logBatch   = 32 << 10               // bytes that are written without waiting for that
	logWaiting = 1 << 20                // bytes that wait at most
)

// LogBuffer collects log lines, and one goroutine writes many of them with one system call. A request
// that logs never waits for the writer behind the buffer, be it a pipe, a file or a terminal.
//
// While that writer stalls, up to 1 MiB of lines waits, and later lines are dropped. When it fails, the
// lines that it has not taken are dropped. Lines are only dropped as a whole, and the others keep their
// order. As soon as the writer takes lines again, a report takes the place of those that are missing.
type LogBuffer struct {
	w       io.Writer
	report  func(dropped uint64) []byte
	wake    chan struct{}
	closing chan struct{}
	done    chan struct{}
	dropped atomic.Uint64

	mu       sync.Mutex
	waiting  []byte // lines that are not being written yet
	writing  int    // bytes that are being written
	overflow uint64 // lines that were dropped after those in waiting

	// Used by the writing goroutine only:
	spare      []byte // the memory of the batch before, for the next lines
	unreported uint64 // dropped lines that no report has counted yet
	torn       bool   // the last line was written in part
}

// NewLogBuffer returns a LogBuffer that writes to w. report returns the line that says how many lines
// were dropped. The goroutine that writes calls it.
func NewLogBuffer(w io.Writer, report func(dropped uint64) []byte) *LogBuffer {
	b := &LogBuffer{w: w, report: report, wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{})}
	go b.run()
	return b
}

// Write takes one or more whole lines, each with its newline, and does not keep them. They are written
// within 200 ms, together with others. Write never waits for the writer and never fails.
func (b *LogBuffer) Write(lines []byte) (int, error) {
	b.mu.Lock()
	// After a dropped line, a shorter one that would fit must not come before the report.
	if b.overflow == 0 && len(b.waiting)+b.writing+len(lines) <= logWaiting {
		b.waiting = append(b.waiting, lines...)
	} else {
		n := countLines(lines)
		b.overflow += n
		b.dropped.Add(n)
	}
	enough := len(b.waiting) >= logBatch
	b.mu.Unlock()
	if enough {
		b.wakeWriter()
	}
	return len(lines), nil
}

// Prompt returns a writer to the same buffer for lines that should be written at once, together with
// those that already wait.
func (b *LogBuffer) Prompt() io.Writer { return promptLog{b} }

type promptLog struct{ *LogBuffer }

func (p promptLog) Write(lines []byte) (int, error) {
	n, err := p.LogBuffer.Write(lines)
	p.wakeWriter()
	return n, err
}

// Dropped returns the number of lines that have been dropped so far.
func (b *LogBuffer) Dropped() uint64 { return b.dropped.Load() }

// Close writes the lines that wait. It returns when they are written or when ctx ends: a write that
// stalls cannot be interrupted, so its goroutine is left behind. Lines that come after Close are lost.
// Close must be called only once.
func (b *LogBuffer) Close(ctx context.Context) {
	close(b.closing)
	select {
	case <-b.done:
	case <-ctx.Done():
	}
}

func (b *LogBuffer) wakeWriter() {
	select {
	case b.wake <- struct{}{}:
	default: // it has been woken already
	}
}

func (b *LogBuffer) run() {
	defer close(b.done)
	tick := time.NewTicker(logDelay)
	defer tick.Stop()
	for last := false; !last; {
		select {
		case <-tick.C:
		case <-b.wake:
		case <-b.closing:
			last = true
		}
		b.flush()
	}
}

// flush writes the lines that wait. After a failure it writes the report first. While the writer does
// not take that, the lines that wait are dropped as well, so that the count never lags behind a failure.
func (b *LogBuffer) flush() {
	recovered := b.reportDropped()
	batch, overflow := b.take()
	n := 0
	if recovered {
		n = b.write(batch)
	}
	b.written(batch)
	lost := countLines(batch[n:])
	b.dropped.Add(lost)
	b.unreported += lost + overflow
	if recovered && lost == 0 {
		b.reportDropped()
	}
}

// take starts a batch: all lines that wait, and the number of lines that were dropped after them.
func (b *LogBuffer) take() (batch []byte, overflow uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	batch, overflow = b.waiting, b.overflow
	b.waiting, b.writing, b.overflow = b.spare, len(batch), 0
	return batch, overflow
}

// written ends a batch, which makes room for new lines.
func (b *LogBuffer) written(batch []byte) {
	b.spare = batch[:0]
	if cap(batch) > 8*logBatch {
		b.spare = nil // only a stall needs as much memory
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writing = 0
}

// reportDropped writes the report of dropped lines. It reports whether none are left.
func (b *LogBuffer) reportDropped() bool {
	if b.unreported == 0 {
		return true
	}
	line := b.report(b.unreported)
	if b.write(line) < len(line) {
		return false
	}
	b.unreported = 0
	return true
}

// write returns how many bytes the writer has taken. If an earlier write ended within a line, write
// starts a new line first.
func (b *LogBuffer) write(lines []byte) int {
	if len(lines) == 0 {
		return 0
	}
	if b.torn {
		if _, err := b.w.Write(newline); err != nil {
			return 0
		}
		b.torn = false
	}
	n, err := b.w.Write(lines)
	if err == nil {
		return len(lines)
	}
	b.torn = n > 0 && lines[n-1] != '\n'
	return n
}

var newline = []byte{'\n'}

func countLines(b []byte) uint64 { return uint64(bytes.Count(b, newline)) }
