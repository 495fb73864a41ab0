package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"tilegate/configs"
	"tilegate/proxy"
)

// At its end, the process waits for the last lines of the log to be written, for as long as is left of
// server.shutdown_timeout, but within these bounds. Normally this takes milliseconds.
const (
	minLastLines = 250 * time.Millisecond
	maxLastLines = 2 * time.Second
)

// serviceLog takes everything that tilegate writes to standard error while it serves. Writing to it
// never blocks.
type serviceLog struct {
	logger  *slog.Logger
	access  io.Writer     // for lines that may be written a little later
	dropped func() uint64 // the number of lines that were dropped so far
	endBy   time.Time     // when the process must have ended; zero: it was not asked to end
}

// noLog returns a log for a service that is created and never run.
func noLog() *serviceLog {
	return &serviceLog{logger: slog.New(slog.DiscardHandler), access: io.Discard, dropped: func() uint64 { return 0 }}
}

func newLogger(c configs.Logging, w io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "text" {
		return slog.New(slog.NewTextHandler(w, options))
	}
	return slog.New(slog.NewJSONHandler(w, options))
}

// withLog runs serve with a log that never blocks. It also writes the error of serve to that log, after
// the last line, and returns it as a reportedError: main must not block on standard error either.
func withLog(c configs.Logging, stderr io.Writer, serve func(*serviceLog) error) error {
	// Without a handler for SIGPIPE, Go ends a process that writes to a standard error without a reader.
	// Notify is used and not Ignore because the programs of credential_process would inherit the latter.
	// It is never stopped: the last write may still be in progress when this function returns.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	buffer := proxy.NewLogBuffer(stderr, func(dropped uint64) []byte {
		var line bytes.Buffer
		always := c // at every level, because this line is about the log itself
		always.Level = min(c.Level, slog.LevelWarn)
		newLogger(always, &line).Warn("log lines dropped", "count", dropped)
		return line.Bytes()
	})
	l := &serviceLog{logger: newLogger(c, buffer.Prompt()), access: buffer, dropped: buffer.Dropped}
	defer captureStandardLog(l.logger)()

	err := serve(l)
	if err != nil {
		printError(buffer.Prompt(), err)
	}
	wait := maxLastLines
	if !l.endBy.IsZero() {
		wait = min(max(time.Until(l.endBy), minLastLines), maxLastLines)
	}
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	buffer.Close(ctx)
	if err != nil {
		return reportedError{err}
	}
	return nil
}

// captureStandardLog redirects Go's standard logger, which net/http's client uses, from standard error
// to the log.
func captureStandardLog(to *slog.Logger) (restore func()) {
	w, flags := log.Writer(), log.Flags()
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(to.Handler(), slog.LevelWarn).Writer())
	return func() {
		log.SetOutput(w)
		log.SetFlags(flags)
	}
}

// reportedError is an error that has already been written to standard error.
type reportedError struct{ error }

func (e reportedError) Unwrap() error { return e.error }

// hangups yields SIGHUP, which asks for a reload. Without it, the signal would end the process. If SIGHUP was ignored when the process
// started, as under nohup, it stays ignored.
func hangups() <-chan os.Signal {
	received := make(chan os.Signal, 1)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(received, syscall.SIGHUP) // never stopped, so that a late signal does not end the process
	}
	return received
}
