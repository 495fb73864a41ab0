package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// benchFleet measures instances that share what they know: what that costs a hit, what it spares S3, and what happens to clients
// when Redis dies.
func benchFleet(ctx context.Context, l *lab) error {
	if _, err := exec.LookPath("redis-server"); err != nil {
		l.note("several instances on one Redis", "redis-server is not installed")
		return nil
	}
	redis, err := l.startRedis(ctx)
	if err != nil {
		return err
	}
	defer func() { redis.stop() }()
	if err := l.writeSigningKey(ctx); err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	defer client.CloseIdleConnections()
	f := &fleetBench{lab: l, client: client, shared: sharedKeys(redis)}
	return errors.Join(f.hits(ctx), f.secondLevel(ctx), f.coldTile(ctx), f.redisDies(ctx, redis))
}

type fleetBench struct {
	*lab
	client *http.Client
	shared string // the keys that make an instance one of the fleet
}

func (l *lab) startRedis(ctx context.Context) (*server, error) {
	address, err := freeAddress(ctx)
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(address)
	return l.start(ctx, loadCore, address, nil, "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no",
		"--dir", l.dir, "--loglevel", "warning", "--logfile", filepath.Join(l.dir, "redis.log"))
}

func sharedKeys(redis *server) string {
	return fmt.Sprintf("shared: {url: %q}\n", "redis://"+redis.url[len("http://"):]+"/0")
}

// writeSigningKey makes the key that all instances need.
func (l *lab) writeSigningKey(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, l.tilegate, "keygen").Output() //nolint:gosec // built by the bench
	if err != nil {
		return fmt.Errorf("keygen: %w", err)
	}
	return writeFile(l.dir, "signing.key", out)
}

func (f *fleetBench) get(ctx context.Context, url string) error {
	answer, err := f.fetch(ctx, f.client, url)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, answer.Body)
	if n != tileSize {
		err = errors.Join(err, fmt.Errorf("%s: %d bytes", url, n))
	}
	return errors.Join(err, answer.Body.Close())
}

// hits compares a hit in memory of an instance that shares with one that does not.
func (f *fleetBench) hits(ctx context.Context) error {
	s3, err := f.startSelf(ctx, loadCore, "serve-s3", fmt.Sprint(tileSize))
	if err != nil {
		return err
	}
	defer s3.stop()
	lone, err := f.startTilegate(ctx, s3.url, 256)
	if err != nil {
		return err
	}
	defer lone.stop()
	sharing, err := f.startTilegate(ctx, s3.url, 256, f.shared)
	if err != nil {
		return err
	}
	defer sharing.stop()
	var with, without []float64
	for range f.rounds {
		rate, _, err := f.wrk(ctx, lone, cachedTile, f.token, 64, "")
		if err != nil {
			return err
		}
		without = append(without, rate)
		if rate, _, err = f.wrk(ctx, sharing, cachedTile, f.token, 64, ""); err != nil {
			return err
		}
		with = append(with, rate)
	}
	ratio := median(with) / median(without)
	f.record("hits in memory with shared, of the same without", fmt.Sprintf("%.2f (%.0f and %.0f in a second of a core)", ratio, median(with), median(without)),
		"≥ 0.98", ratio >= 0.98)
	return nil
}

// secondLevel compares tiles that another instance has read with tiles that come from an S3 of 20 ms: for a map's eight requests at
// once, and for so many that the processor bounds both.
func (f *fleetBench) secondLevel(ctx context.Context) error {
	const aMap, many = 8, 32
	origin, err := startLateOrigin(ctx, 20*time.Millisecond, 0, tileSize)
	if err != nil {
		return err
	}
	defer origin.close()
	writer, err := f.startTilegate(ctx, origin.url, 256, f.shared)
	if err != nil {
		return err
	}
	defer writer.stop()
	reader, err := f.startTilegate(ctx, origin.url, 256, f.shared)
	if err != nil {
		return err
	}
	defer reader.stop()
	for _, workers := range []int{aMap, many} {
		tiles := 125 * workers
		var taken, missed []float64
		asked := int64(0)
		for round := range f.rounds {
			tile := func(s *server) func(int) error {
				return func(n int) error {
					return f.get(ctx, fmt.Sprintf("%s/tiles/basemap/16/%d/%d.png", s.url, 100*workers+round, n))
				}
			}
			rate, err := throughput(tiles, workers, tile(writer))
			if err != nil {
				return err
			}
			missed = append(missed, rate)
			time.Sleep(time.Second) // writes are behind
			before := origin.requests.Load()
			if rate, err = throughput(tiles, workers, tile(reader)); err != nil {
				return err
			}
			taken = append(taken, rate)
			asked += origin.requests.Load() - before
		}
		ratio := median(taken) / median(missed)
		what := fmt.Sprintf("tiles that another instance has read, %d at once, of tiles of an S3 of 20 ms", workers)
		got := fmt.Sprintf("%.1f × (%.0f and %.0f in a second), %d of %d asked S3", ratio, median(taken), median(missed), asked, tiles*f.rounds)
		if workers == aMap {
			f.record(what, got, "≥ 5 ×", ratio >= 5)
		} else {
			f.note(what, got)
		}
	}
	return nil
}

// throughput has workers do n pieces of work, and returns how many they do in a second.
func throughput(n, workers int, work func(int) error) (float64, error) {
	var next atomic.Int64
	var done sync.WaitGroup
	failed := make(chan error, workers)
	begun := time.Now()
	for range workers {
		done.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				if err := work(int(i)); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	done.Wait()
	close(failed)
	return float64(n) / time.Since(begun).Seconds(), <-failed
}

// coldTile has 800 clients of four instances ask for one tile of an S3 of 2 s.
func (f *fleetBench) coldTile(ctx context.Context) error {
	const instances, clients = 4, 800
	origin, err := startLateOrigin(ctx, 2*time.Second, 0, tileSize)
	if err != nil {
		return err
	}
	defer origin.close()
	var fleet []*server
	// All instances have one core together, which 800 new connections keep busy for longer than the usual 20 ms.
	patient := strings.Replace(f.shared, "{", "{timeout: 200ms, ", 1)
	for range instances {
		s, err := f.startTilegate(ctx, origin.url, 64, patient)
		if err != nil {
			return err
		}
		defer s.stop()
		fleet = append(fleet, s)
	}
	before := origin.requests.Load()
	_, err = throughput(clients, clients, func(n int) error {
		return f.get(ctx, fleet[n%instances].url+"/tiles/basemap/3/1/2.png")
	})
	if err != nil {
		return err
	}
	gets := origin.requests.Load() - before
	f.record(fmt.Sprintf("%d instances, %d clients, one cold tile of an S3 of 2 s: GETs", instances, clients), fmt.Sprint(gets), "1", gets == 1)
	return nil
}

// redisDies compares the slowest hundredth of hits with what it is when Redis is killed meanwhile. A tenth of the requests is for
// tiles that are not in memory.
func (f *fleetBench) redisDies(ctx context.Context, redis *server) error {
	origin, err := startLateOrigin(ctx, 20*time.Millisecond, 0, tileSize)
	if err != nil {
		return err
	}
	defer origin.close()
	s, err := f.startTilegate(ctx, origin.url, 256, f.shared)
	if err != nil {
		return err
	}
	defer s.stop()
	if err := f.get(ctx, s.url+cachedTile); err != nil {
		return err
	}
	const rate = 1000
	cold := 0
	measure := func(during func()) (p99 float64, err error) {
		var stop atomic.Bool
		var misses sync.WaitGroup
		failed := make(chan error, 1)
		misses.Go(func() {
			for ; !stop.Load(); cold++ {
				if err := f.get(ctx, fmt.Sprintf("%s/tiles/basemap/17/%d/%d.png", s.url, cold/60_000, cold%60_000)); err != nil {
					failed <- err
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		timer := time.AfterFunc(f.length/3, during)
		defer timer.Stop()
		p99, err = f.openLoop(ctx, rate, func(ctx context.Context) error { return f.get(ctx, s.url+cachedTile) })
		stop.Store(true)
		misses.Wait()
		close(failed)
		return p99, errors.Join(err, <-failed)
	}
	var before []float64
	for range f.rounds {
		p99, err := measure(func() {})
		if err != nil {
			return err
		}
		before = append(before, p99)
	}
	killed, err := measure(func() { _ = redis.cmd.Process.Kill() })
	if err != nil {
		f.record("Redis is killed under load: failed requests", err.Error(), "none", false)
		return nil
	}
	down := []float64{killed}
	for range f.rounds - 1 {
		p99, err := measure(func() {})
		if err != nil {
			return err
		}
		down = append(down, p99)
	}
	f.record("Redis is killed under load: failed requests", "0", "0", true)
	ratio := median(down) / median(before)
	f.record(fmt.Sprintf("  p99 of hits at %d a second, of what it was before", rate), fmt.Sprintf("%.2f × (%.2f and %.2f ms)", ratio, median(down), median(before)),
		"≤ 1.2 ×", ratio <= 1.2)
	return nil
}

// openLoop sends requests at a rate, whether or not the ones before have been answered, and returns the time
// that 99 % of them take at most, in milliseconds.
func (l *lab) openLoop(ctx context.Context, rate float64, request func(context.Context) error) (p99 float64, err error) {
	const atOnce = 512
	var mu sync.Mutex
	var took []float64
	var done sync.WaitGroup
	failed := make(chan error, atOnce)
	places := make(chan struct{}, atOnce)
	begun := time.Now()
	for sent := 0; time.Since(begun) < l.length; {
		due := int(time.Since(begun).Seconds() * rate)
		for ; sent < due; sent++ {
			select {
			case places <- struct{}{}:
			default:
				return 0, fmt.Errorf("%d requests wait for their answers: the rate of %.0f is too much", atOnce, rate)
			}
			at := time.Now()
			done.Go(func() {
				defer func() { <-places }()
				if err := request(ctx); err != nil {
					select {
					case failed <- err:
					default:
					}
					return
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, ms(time.Since(at)))
			})
		}
		time.Sleep(time.Millisecond)
	}
	done.Wait()
	close(failed)
	if err := <-failed; err != nil {
		return 0, err
	}
	slices.Sort(took)
	return took[len(took)*99/100], nil
}
