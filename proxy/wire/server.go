package wire

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server is an HTTP server for one listener, with its limits. HTTP/1.1 and HTTP/2 are both spoken.
type Server struct {
	Handler     http.Handler
	TLS         *tls.Config   // nil: cleartext, and HTTP/2 by prior knowledge
	HeaderBytes int           // the largest header of a request; 0: 16 KiB
	ReadHeader  time.Duration // for a request's header to come; 0: 5 s
	Idle        time.Duration // for the next request on a connection; 0: 120 s
	WriteStall  time.Duration // without progress of a write; 0: 30 s
	Streams     int           // at once on one HTTP/2 connection; 0: 128
	Clients     *Clients      // what clients may hold, where each request is counted; nil: no limit
	Logger      *slog.Logger  // nil: discards
}

// Serve answers on l until ctx ends. Then it takes no more connections, and the requests under way may
// finish within grace. It returns nil when all of them did.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	logger := s.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	idle, stall := cmp.Or(s.Idle, 2*time.Minute), cmp.Or(s.WriteStall, 30*time.Second)
	var look <-chan time.Time
	if s.Clients != nil {
		// net/http keeps an HTTP/2 connection that has failed with streams open in memory until its idle timer
		// fires, so idle connections are looked for here.
		ticker := time.NewTicker(max(idle/8, time.Millisecond))
		defer ticker.Stop()
		look = ticker.C
	}
	server := &http.Server{
		Handler:           s.Handler,
		TLSConfig:         s.TLS,
		MaxHeaderBytes:    cmp.Or(s.HeaderBytes, 16<<10),
		ReadHeaderTimeout: cmp.Or(s.ReadHeader, 5*time.Second),
		WriteTimeout:      maxStalls * stall, // Writer has the deadlines that count
		Protocols:         protocols,
		ConnContext: func(ctx context.Context, socket net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, connectionUnder(socket))
		},
		ConnState: func(socket net.Conn, state http.ConnState) {
			if state == http.StateClosed || state == http.StateHijacked {
				s.Clients.disconnect(connectionUnder(socket))
			}
		},
		// A connection that takes no byte at all is closed: not even the reset of a stream could be sent on it.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: cmp.Or(s.Streams, 128), WriteByteTimeout: stall},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	if s.Clients == nil {
		server.IdleTimeout = idle
	}
	failed := make(chan error, 1)
	accepts := listener{Listener: l, clients: s.Clients, stall: stall, encrypted: s.TLS != nil}
	go func() {
		if s.TLS != nil {
			failed <- server.ServeTLS(accepts, "", "")
		} else {
			failed <- server.Serve(accepts)
		}
	}()
	for serving := true; serving; {
		select {
		case err := <-failed:
			return fmt.Errorf("serve %s: %w", l.Addr(), err)
		case now := <-look:
			s.Clients.closeIdle(now, idle)
		case <-ctx.Done():
			serving = false
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close() // what is still under way is cut off: the grace is over
		return fmt.Errorf("shut down %s: requests were still under way after %s: %w", l.Addr(), grace, err)
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	}
	return nil
}
