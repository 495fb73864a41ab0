package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// lateOrigin is an S3 that answers any key after a while, in this process, so that its moments and ours
// are told by one clock. tilegate's signature is not looked at: what is measured is time.
type lateOrigin struct {
	url      string
	delay    time.Duration // to the first byte
	rest     time.Duration // from there to the rest
	body     []byte
	etag     string
	requests atomic.Int64
	first    atomic.Int64 // Unix nanoseconds of the latest first byte
	close    func()
}

func startLateOrigin(ctx context.Context, delay, rest time.Duration, size int) (*lateOrigin, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	o := newLateOrigin(delay, rest, size)
	o.url = "http://" + l.Addr().String()
	s := &http.Server{Handler: o, ReadHeaderTimeout: 5 * time.Second}
	go s.Serve(l) //nolint:errcheck // ends with close
	o.close = func() { _ = s.Close() }
	return o, nil
}

func newLateOrigin(delay, rest time.Duration, size int) *lateOrigin {
	return &lateOrigin{delay: delay, rest: rest, body: tileBody(size), etag: etagOf(tileBody(size))}
}

func (o *lateOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !strings.HasPrefix(r.URL.Path, "/tiles/basemap/") {
		return
	}
	if !strings.HasSuffix(r.URL.Path, "/0/0/0.png") { // tilegate looks once for its lowest tile
		o.requests.Add(1)
		time.Sleep(o.delay)
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(o.body)))
	w.Header().Set("Etag", o.etag)
	_, _ = w.Write(o.body[:1000]) // as above: time alone counts
	_ = http.NewResponseController(w).Flush()
	o.first.Store(time.Now().UnixNano())
	time.Sleep(o.rest)
	_, _ = w.Write(o.body[1000:])
}

// benchFirstByte measures how much later a client gets the first byte than tilegate could have had it.
func benchFirstByte(ctx context.Context, l *lab) error {
	origin, err := startLateOrigin(ctx, 200*time.Millisecond, 500*time.Millisecond, tileSize)
	if err != nil {
		return err
	}
	defer origin.close()
	tilegate, err := l.startTilegate(ctx, origin.url, 256)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	var late []time.Duration
	for i := range 4 * l.rounds {
		answer, err := l.fetch(ctx, http.DefaultClient, fmt.Sprintf("%s/tiles/basemap/9/%d/1.png", tilegate.url, i))
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(answer.Body, make([]byte, 1)); err != nil {
			return err
		}
		late = append(late, time.Duration(time.Now().UnixNano()-origin.first.Load()))
		_, err = io.Copy(io.Discard, answer.Body)
		if err = errors.Join(err, answer.Body.Close()); err != nil {
			return err
		}
	}
	l.record("first byte after the origin's first byte", fmt.Sprintf("%.2f ms", ms(median(late))), "≤ 5 ms", median(late) <= 5*time.Millisecond)
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// benchHerd sends a thousand clients for one cold tile, to tilegate and to a bare handler that is as late.
func benchHerd(ctx context.Context, l *lab) error {
	const clients = 1000
	for _, delay := range []time.Duration{time.Second, 7 * time.Second} {
		origin, err := startLateOrigin(ctx, delay, 0, tileSize)
		if err != nil {
			return err
		}
		tilegate, err := l.startTilegate(ctx, origin.url, 256)
		if err != nil {
			return err
		}
		bare, err := l.slowest(ctx, origin.url+"/tiles/basemap/3/1/2.png", clients)
		before := origin.requests.Load()
		ours, err2 := l.slowest(ctx, tilegate.url+"/tiles/basemap/3/1/2.png", clients)
		gets := origin.requests.Load() - before
		tilegate.stop()
		origin.close()
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		l.record(fmt.Sprintf("%d clients, one cold tile, origin %s: GETs", clients, delay), strconv.FormatInt(gets, 10), "1", gets == 1)
		l.record("  slowest client beyond a bare handler's", fmt.Sprintf("%.0f ms (%.0f and %.0f)", ms(ours-bare), ms(ours), ms(bare)), "≤ 50 ms", ours-bare <= 50*time.Millisecond)
	}
	return nil
}

// slowest lets clients ask at once and returns how long the last one took.
func (l *lab) slowest(ctx context.Context, url string, clients int) (time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	var longest atomic.Int64
	var done sync.WaitGroup
	failed := make(chan error, clients)
	for range clients {
		done.Go(func() {
			begun := time.Now()
			answer, err := l.fetch(ctx, client, url)
			if err == nil {
				var n int64
				n, err = io.Copy(io.Discard, answer.Body)
				err = errors.Join(err, answer.Body.Close())
				if n != tileSize {
					err = errors.Join(err, fmt.Errorf("%d bytes", n))
				}
			}
			if err != nil {
				failed <- err
			}
			for took := int64(time.Since(begun)); ; {
				if old := longest.Load(); took <= old || longest.CompareAndSwap(old, took) {
					return
				}
			}
		})
	}
	done.Wait()
	close(failed)
	return time.Duration(longest.Load()), <-failed
}
