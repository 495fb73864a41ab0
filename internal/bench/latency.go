package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// benchLatency measures the slowest hundredth of hits at half of the capacity, alone and beside misses.
func benchLatency(ctx context.Context, l *lab) error {
	const misses, late = 32, 100 * time.Millisecond
	origin, err := startLateOrigin(ctx, late, 0, tileSize)
	if err != nil {
		return err
	}
	defer origin.close()
	tilegate, err := l.startTilegate(ctx, origin.url, 256)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	transport := &http.Transport{MaxIdleConnsPerHost: 1000}
	client := &http.Client{Transport: transport}
	defer transport.CloseIdleConnections()
	get := func(ctx context.Context, path string) error {
		answer, err := l.fetch(ctx, client, tilegate.url+path)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, answer.Body)
		return errors.Join(err, answer.Body.Close())
	}
	if err := get(ctx, cachedTile); err != nil {
		return err
	}
	// This client takes more than the server, so half of what it gets out of 32 connections is below half
	// of the server's capacity by wrk. What wrk says is measured first.
	_, requests, err := l.wrk(ctx, tilegate, cachedTile, l.token, 64, "")
	if err != nil {
		return err
	}
	rate := min(float64(requests)/l.length.Seconds()/2, 4000) // this process has one core, and uses it for all of that
	var alone []float64
	beside := map[time.Duration][]float64{}
	missed := 0
	inTurn, together := late/misses, time.Duration(0) // the time between the first misses
	for range l.rounds {
		p99, err := l.openLoop(ctx, rate, func(ctx context.Context) error { return get(ctx, cachedTile) })
		if err != nil {
			return err
		}
		alone = append(alone, p99)
		for _, apart := range []time.Duration{inTurn, together} {
			var stop atomic.Bool
			var done sync.WaitGroup
			failed := make(chan error, misses)
			for worker := range misses {
				first := missed + worker*100_000
				done.Go(func() {
					time.Sleep(time.Duration(worker) * apart)
					for i := first; !stop.Load(); i++ {
						if err := get(ctx, fmt.Sprintf("/tiles/basemap/17/%d/%d.png", i/120_000, i%120_000)); err != nil {
							failed <- err
							return
						}
					}
				})
			}
			missed += misses * 100_000
			p99, err = l.openLoop(ctx, rate, func(ctx context.Context) error { return get(ctx, cachedTile) })
			stop.Store(true)
			done.Wait()
			close(failed)
			if err := errors.Join(err, <-failed); err != nil {
				return err
			}
			beside[apart] = append(beside[apart], p99)
		}
	}
	for _, row := range []struct {
		apart time.Duration
		what  string
	}{
		{inTurn, fmt.Sprintf("p99 of hits at %.0f a second, beside %d misses at a time of %s", rate, misses, late)},
		{together, "  the same, all of the misses in the same moment"},
	} {
		ratio := median(beside[row.apart]) / median(alone)
		l.record(row.what, fmt.Sprintf("%.1f × (%.2f and %.2f ms)", ratio, median(beside[row.apart]), median(alone)), "≤ 1.5 ×", ratio <= 1.5)
	}
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
