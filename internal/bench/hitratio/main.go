// Command hitratio compares the hit ratio of tilegate's cache with plain LRU and with otter, a cache that
// has W-TinyLFU with an adaptive window, on the traces of internal/traces. It is a module of its own, so that tilegate
// does not depend on what it is compared with.
//
//	make hitratio
//	cd internal/bench/hitratio && go run . -memory 64 -tiles 18800
//
// All have the same bytes for tiles and what tilegate counts for a tile beside them. tilegate's other bookkeeping is
// in its bytes too, the others' is not.
package main

import (
	"bytes"
	"container/list"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"
	"time"

	"github.com/maypok86/otter/v2"

	"tilegate/internal/tile"
	"tilegate/internal/traces"
	"tilegate/tilecache"
)

// maxTile is the largest size that traces have.
const maxTile = 40_000

func main() {
	if err := run(os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "hitratio:", err)
		os.Exit(1)
	}
}

func run(args []string, out io.Writer) error {
	flags := flag.NewFlagSet("hitratio", flag.ContinueOnError)
	memory := flags.Int64("memory", 16, "of each cache, in `MiB`")
	tiles := flags.Int("tiles", 4700, "that the traces are made for: how many the caches hold, about")
	each := flags.Int("requests", 30, "in a trace, for each of the tiles")
	seed := flags.Uint64("seed", 1, "of the traces")
	if err := flags.Parse(args); err != nil {
		return err
	}
	// On one processor a fetch has ended before the next request comes. Otherwise some of the cache's bytes would be
	// set aside for fetches, more or fewer with each run.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "trace\tplain LRU\totter\ttilegate\tminus otter\tworst tenth, minus plain LRU: otter\ttilegate\t")
	for _, oneSize := range []bool{false, true} {
		o := traces.Options{Tiles: *tiles, Requests: *tiles * *each, Seed: *seed, OneSize: oneSize}
		for trace := range traces.All(o) {
			name := trace.Name
			if oneSize {
				name += ", one size"
			}
			lru := trace.Replay(newLRU(*memory << 20))
			other, err := newOtter(*memory << 20)
			if err != nil {
				return err
			}
			theirs := trace.Replay(other)
			ours, err := tilegate(*memory<<20, trace)
			if err != nil {
				return err
			}
			fmt.Fprintf(w, "%s\t%.1f\t%.1f\t%.1f\t%+.1f\t%+.1f\t%+.1f\t\n",
				name, lru.All, theirs.All, ours.All, ours.All-theirs.All, -theirs.Behind(lru), -ours.Behind(lru))
		}
	}
	return w.Flush()
}

// weight is what tilegate counts for a tile: its size as Go allocates it, its ETag, and its entry.
func weight(size int64) int64 { return int64(cap(append([]byte(nil), sizes[:size]...))) + 8 + 448 }

var sizes = make([]byte, maxTile)

// newLRU returns plain LRU's answer to a request: whether it is a hit.
func newLRU(capacity int64) func(traces.Request) bool {
	type held struct {
		key  tile.Key
		cost int64
	}
	var order list.List
	at, used := map[tile.Key]*list.Element{}, int64(0)
	return func(q traces.Request) bool {
		if e := at[q.Key]; e != nil {
			order.MoveToFront(e)
			return true
		}
		h := held{q.Key, weight(q.Size)}
		at[q.Key] = order.PushFront(h)
		for used += h.cost; used > capacity; {
			oldest := order.Remove(order.Back()).(held)
			delete(at, oldest.key)
			used -= oldest.cost
		}
		return false
	}
}

func newOtter(capacity int64) (func(traces.Request) bool, error) {
	cache, err := otter.New(&otter.Options[tile.Key, int64]{
		MaximumWeight: uint64(capacity),
		Weigher:       func(_ tile.Key, weight int64) uint32 { return uint32(weight) },
		Executor:      func(f func()) { f() }, // at once: it makes up its mind before the next request
	})
	if err != nil {
		return nil, err
	}
	return func(q traces.Request) bool {
		if _, ok := cache.GetIfPresent(q.Key); ok {
			return true
		}
		cache.Set(q.Key, weight(q.Size))
		return false
	}, nil
}

func tilegate(capacity int64, trace traces.Trace) (ratios traces.Ratios, err error) {
	cache, err := tilecache.New(tilecache.Options{Memory: capacity, MaxObject: 64 << 10})
	if err != nil {
		return ratios, err
	}
	ctx := context.Background()
	policy := tilecache.Policy{Fresh: time.Hour}
	ratios = trace.Replay(func(q traces.Request) bool {
		fetch := func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
			return &tile.Object{
				Body: io.NopCloser(bytes.NewReader(sizes[:q.Size])), Size: q.Size, ETag: `"v1"`,
			}, nil
		}
		t, status, failed := cache.Get(ctx, q.Key, policy, fetch)
		if failed != nil {
			err = failed
			return false
		}
		defer t.Close()
		for off := int64(0); status.State != tilecache.Hit; {
			b, failed := t.Next(ctx, off)
			if failed == io.EOF { //nolint:errorlint // Next promises io.EOF itself
				break
			}
			if failed != nil {
				err = failed
				break
			}
			off += int64(len(b))
		}
		return status.State == tilecache.Hit
	})
	if err != nil {
		return ratios, err
	}
	return ratios, cache.Close(ctx)
}
