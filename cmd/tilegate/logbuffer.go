package main

import (
	"io"
	"sync"
	"time"
)

const (
	logFlushEvery = 200 * time.Millisecond // how late a line may be
	logFlushSize  = 32 << 10               // bytes that are written without waiting for that
	logBufferSize = 1 << 20                // bytes that wait at most; then writers wait instead
)

// logBuffer collects log lines and writes many with one system call: a request does not pay for one
// of its own. When what is behind it stalls, writers wait rather than lose a line.
type logBuffer struct {
	w      io.Writer
	wake   chan struct{}
	closed chan struct{}
	done   chan struct{}

	mu    sync.Mutex
	room  sync.Cond
	lines []byte
}

func newLogBuffer(w io.Writer) *logBuffer {
	b := &logBuffer{w: w, wake: make(chan struct{}, 1), closed: make(chan struct{}), done: make(chan struct{})}
	b.room.L = &b.mu
	go b.run()
	return b
}

// Write takes one whole line, or several.
func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	for len(b.lines) > 0 && len(b.lines)+len(line) > logBufferSize {
		b.room.Wait()
	}
	b.lines = append(b.lines, line...)
	full := len(b.lines) >= logFlushSize
	b.mu.Unlock()
	if full {
		select {
		case b.wake <- struct{}{}:
		default: // it is awake already
		}
	}
	return len(line), nil
}

// Close writes what is left. Nothing may be written after it.
func (b *logBuffer) Close() {
	close(b.closed)
	<-b.done
}

func (b *logBuffer) run() {
	defer close(b.done)
	tick := time.NewTicker(logFlushEvery)
	defer tick.Stop()
	var spare []byte
	for last := false; ; {
		b.mu.Lock()
		full := b.lines
		b.lines = spare[:0]
		b.room.Broadcast()
		b.mu.Unlock()
		if len(full) > 0 {
			_, _ = b.w.Write(full) // a log that cannot be written has nowhere to say so
		}
		spare = full
		if last {
			return
		}
		select {
		case <-tick.C:
		case <-b.wake:
		case <-b.closed:
			last = true
		}
	}
}
