package main

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const cacheMiB = 256

// benchScan walks a million distinct tiles through a cache that holds a small part of them.
func benchScan(ctx context.Context, l *lab) error {
	const tiles, size = 1_000_000, 4_000
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(size))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startTilegate(ctx, s3.url, cacheMiB)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	length := l.length
	defer func() { l.length = length }()
	l.length = 20 * time.Second
	asked := 0
	for asked < tiles {
		_, requests, err := l.wrk(ctx, tilegate, "", l.token, 64, walk(20, asked))
		if err != nil {
			return err
		}
		asked += requests
	}
	_, peak, err := tilegate.resident()
	if err != nil {
		return err
	}
	limit := 1.25*cacheMiB + 64
	l.record(fmt.Sprintf("resident after a scan of %d tiles, cache %d MiB", asked, cacheMiB), fmt.Sprintf("%.0f MiB at most", peak), fmt.Sprintf("≤ %.0f MiB", limit), peak <= limit)
	return nil
}

// benchSlowReaders opens ten thousand connections that ask for a tile of 256 KB and read its header only.
func benchSlowReaders(ctx context.Context, l *lab) error {
	const readers = 10_000
	for _, distinct := range []int{1, 2000} {
		if err := l.slowReaders(ctx, readers, distinct); err != nil {
			return err
		}
	}
	return nil
}

func (l *lab) slowReaders(ctx context.Context, readers, distinct int) error {
	s3, err := l.startSelf(ctx, loadCore, "serve-s3", strconv.Itoa(256<<10))
	if err != nil {
		return err
	}
	defer s3.stop()
	tilegate, err := l.startTilegate(ctx, s3.url, cacheMiB)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	address := strings.TrimPrefix(tilegate.url, "http://")
	var mu sync.Mutex
	var connections []net.Conn
	statuses := map[int]int{}
	defer func() {
		for _, c := range connections {
			_ = c.Close() // they were never meant to finish
		}
	}()
	places := make(chan struct{}, 100)
	var done sync.WaitGroup
	for i := range readers {
		places <- struct{}{}
		done.Go(func() {
			defer func() { <-places }()
			c, status := l.slowReader(ctx, address, i, i%distinct)
			mu.Lock()
			defer mu.Unlock()
			statuses[status]++
			if c != nil {
				connections = append(connections, c)
			}
		})
	}
	done.Wait()
	_, peak, err := tilegate.resident()
	if err != nil {
		return err
	}
	limit := float64(cacheMiB) + float64(readers)*64/1024 + 64
	l.record(fmt.Sprintf("resident with %d slow readers of %d tiles of 256 KB", readers, distinct), fmt.Sprintf("%.0f MiB at most", peak), fmt.Sprintf("≤ %.0f MiB", limit), peak <= limit)
	l.note("  answers by status, 0 for cut off", fmt.Sprint(statuses))
	begun := time.Now()
	if answer, err := l.fetch(ctx, http.DefaultClient, tilegate.url+"/tiles/basemap/9/0/0.png"); err == nil {
		_ = answer.Body.Close() // its header is what was waited for
		l.note("  meanwhile, a client that reads waits", fmt.Sprintf("%.0f ms", ms(time.Since(begun))))
	}
	return nil
}

// slowReader asks for a tile, reads the header of its answer and then nothing more.
func (l *lab) slowReader(ctx context.Context, address string, reader, tile int) (net.Conn, int) {
	// Each reader has an address of its own: what one may hold is limited.
	dialer := net.Dialer{Control: smallReceiveBuffer, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 67, byte(reader/250), byte(reader%250+1))}}
	c, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, 0
	}
	_ = c.SetDeadline(time.Now().Add(time.Minute)) // a TCP connection takes it
	_, err = fmt.Fprintf(c, "GET /tiles/basemap/11/%d/0.png HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer %s\r\n\r\n", tile, l.token)
	if err != nil {
		return c, 0
	}
	answer, err := http.ReadResponse(bufio.NewReaderSize(c, 16), nil) //nolint:bodyclose // never to be read
	if err != nil {
		return c, 0
	}
	return c, answer.StatusCode
}
