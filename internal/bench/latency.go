package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"
)

// benchLatency measures the slowest hundredth of hits at half of the capacity, alone and beside misses.
func benchLatency(ctx context.Context, l *lab) error {
	const misses, late = 32, 100 * time.Millisecond
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	origin, err := l.start(ctx, loadCore, address, nil, "chrt", "--idle", "0", l.self, "serve-late", address, late.String())
	if err != nil {
		return err
	}
	defer origin.stop()
	tilegate, err := l.startTilegate(ctx, origin.url, 256)
	if err != nil {
		return err
	}
	defer tilegate.stop()
	if err := l.drain(ctx, http.DefaultClient, tilegate.url+cachedTile); err != nil {
		return err
	}
	_, requests, err := l.wrk(ctx, tilegate, cachedTile, l.token, 64, "")
	if err != nil {
		return err
	}
	rate := min(float64(requests)/l.length.Seconds()/2, 4000) // the good clients have one core for themselves
	var alone []float64
	beside := map[time.Duration][]float64{}
	missed := 0
	inTurn, together := late/misses, time.Duration(0) // the time between the first misses
	for range l.rounds {
		hits, err := l.good(ctx, tilegate.url+cachedTile, rate, l.length)
		if err != nil {
			return err
		}
		alone = append(alone, hits.p99)
		for _, apart := range []time.Duration{inTurn, together} {
			load := l.yielding(ctx, "miss-process", tilegate.url, l.token, l.length.String(), strconv.Itoa(misses), apart.String(), strconv.Itoa(missed))
			load.Stderr = os.Stderr
			if err := load.Start(); err != nil {
				return err
			}
			missed += misses * 100_000
			hits, err = l.good(ctx, tilegate.url+cachedTile, rate, l.length)
			if err := errors.Join(err, load.Wait()); err != nil {
				return err
			}
			beside[apart] = append(beside[apart], hits.p99)
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

// loadMisses is a process: miss-process URL TOKEN DURATION WORKERS APART FIRST. Each worker asks for one tile after the other that
// nobody has asked for, and begins so long after the worker before it.
func loadMisses(ctx context.Context, args []string) error {
	length, err := time.ParseDuration(args[2])
	apart, err2 := time.ParseDuration(args[4])
	workers, err3 := strconv.Atoi(args[3])
	first, err4 := strconv.Atoi(args[5])
	if err := errors.Join(err, err2, err3, err4); err != nil {
		return err
	}
	l := &lab{token: args[1]}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	end := time.Now().Add(length)
	failed := make(chan error, workers)
	for worker := range workers {
		go func() {
			time.Sleep(time.Duration(worker) * apart)
			for i := first + worker*100_000; time.Now().Before(end); i++ {
				if err := l.drain(ctx, client, fmt.Sprintf("%s/tiles/basemap/17/%d/%d.png", args[0], i/120_000, i%120_000)); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	var errs []error
	for range workers {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// serveLate is an S3 that takes a while for each tile: serve-late ADDRESS DELAY.
func serveLate(_ context.Context, args []string) error {
	delay, err := time.ParseDuration(args[1])
	if err != nil {
		return err
	}
	return (&http.Server{Addr: args[0], Handler: newLateOrigin(delay, 0, tileSize), ReadHeaderTimeout: 5 * time.Second}).ListenAndServe()
}
