package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Server is a listener with its limits.
type Server struct {
	Handler     http.Handler
	TLS         *tls.Config                    // nil: cleartext, HTTP/2 by prior knowledge included
	HeaderBytes int                            // of a request's header; 0: 16 KiB
	ReadHeader  time.Duration                  // to read one; 0: 5 s
	Idle        time.Duration                  // between requests; 0: 120 s
	WriteStall  time.Duration                  // a write without progress; 0: 30 s
	ConnState   func(net.Conn, http.ConnState) // told of every connection; nil: nobody
	Logger      *slog.Logger                   // nil: discards
}

// Serve answers on l until ctx ends, then stops taking connections and lets the requests under way
// finish within grace. It returns nil where all of them did.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	logger := s.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	server := &http.Server{
		Handler:           s.Handler,
		TLSConfig:         s.TLS,
		MaxHeaderBytes:    or(s.HeaderBytes, 16<<10),
		ReadHeaderTimeout: or(s.ReadHeader, 5*time.Second),
		WriteTimeout:      or(s.WriteStall, 30*time.Second),
		IdleTimeout:       or(s.Idle, 2*time.Minute),
		Protocols:         protocols,
		ConnState:         s.ConnState,
		ConnContext:       withConnection,
		// A connection that takes no byte at all is closed: a stream's reset could not be sent on it either.
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 250, WriteByteTimeout: or(s.WriteStall, 30*time.Second)},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() {
		if s.TLS != nil {
			failed <- server.ServeTLS(l, "", "")
		} else {
			failed <- server.Serve(joinedListener{l})
		}
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
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

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}
