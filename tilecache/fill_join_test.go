package tilecache_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

func TestThousandGoroutinesOnOneColdKeyAreOneFetch(t *testing.T) {
	body := pattern(20 << 10)
	const clients = 1000
	go1 := make(chan struct{})
	o := newOrigin(t, func(context.Context, int, tile.Condition) (*tile.Object, error) {
		<-go1
		return object(body), nil
	})
	c := newCache(t, tilecache.Options{})
	var began, done sync.WaitGroup
	states := make([]tilecache.State, clients)
	began.Add(clients)
	for i := range clients {
		done.Go(func() {
			began.Done()
			tl, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
			if err != nil {
				t.Error(err)
				return
			}
			defer tl.Close()
			states[i] = st.State
			if b, err := readAll(tl); err != nil || !bytes.Equal(b, body) {
				t.Errorf("got %d bytes, %v", len(b), err)
			}
		})
	}
	began.Wait()
	close(go1)
	done.Wait()
	misses := 0
	for _, s := range states {
		if s == tilecache.Miss {
			misses++
		}
	}
	check(t, "fetches", o.calls(), 1)
	check(t, "calls that began it", misses, 1)
}

// Readers race with the last bytes and with the end itself: each must see all of it before io.EOF.
func TestReadersAtTheVeryEnd(t *testing.T) {
	body := pattern(5000)
	c := newCache(t, tilecache.Options{})
	fetch := func(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
		return &tile.Object{Body: io.NopCloser(iotest.OneByteReader(bytes.NewReader(body))), Size: 5000, ETag: `"v1"`}, nil
	}
	for i := range uint32(300) {
		var readers sync.WaitGroup
		for range 8 {
			readers.Go(func() {
				_, b := look(t, c, keyOf(i), day, fetch)
				checkBytes(t, b, body)
			})
		}
		readers.Wait()
	}
}

func TestReadersFollowAGrowingTile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := pattern(300_000)
		feeds := make(chan feed, 1)
		o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
			f := newFeed(ctx, int64(len(body)))
			feeds <- f
			return f.object, nil
		})
		c := newCache(t, tilecache.Options{})
		first, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		if err != nil {
			t.Fatal(err)
		}
		defer first.Close()
		check(t, "state before the body", st.State, tilecache.Miss)
		check(t, "size before the body", first.Size(), int64(len(body)))
		if _, ok := first.Bytes(); ok {
			t.Error("Bytes: got a whole tile before its bytes")
		}

		f := <-feeds
		got := make(chan int, 10)
		go func() {
			for off := int64(0); ; {
				b, err := first.Next(context.Background(), off)
				if err != nil {
					close(got)
					return
				}
				off += int64(len(b))
				got <- int(off)
			}
		}()
		synctest.Wait()
		check(t, "pieces before any byte", len(got), 0)
		f.send(t, body[:1000])
		synctest.Wait()
		check(t, "bytes read once 1000 had arrived", <-got, 1000)

		late, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		if err != nil {
			t.Fatal(err)
		}
		defer late.Close()
		check(t, "state of a later client", st.State, tilecache.Joined)
		b, err := late.Next(context.Background(), 500)
		if err != nil {
			t.Fatal(err)
		}
		checkBytes(t, b, body[500:1000])

		ctx, cancel := context.WithCancel(context.Background())
		left := make(chan error)
		go func() {
			_, err := late.Next(ctx, 1000)
			left <- err
		}()
		synctest.Wait()
		cancel()
		checkErr(t, "a reader whose context ends", <-left, context.Canceled)

		f.send(t, body[1000:])
		f.Close()
		for off := range got {
			check(t, "in range", off <= len(body), true)
		}
		all, err := readAll(late)
		if err != nil {
			t.Fatal(err)
		}
		checkBytes(t, all, body)
		check(t, "fetches", o.calls(), 1)
	})
}

// A whole tile is a good tile: until the origin's body has ended as it should, the last of it is
// held back, since a client that has Content-Length bytes will not notice anything any more.
func TestLastBytesWaitForTheBodysEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		feeds := make(chan feed, 1)
		o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
			f := newFeed(ctx, 3000)
			feeds <- f
			return f.object, nil
		})
		c := newCache(t, tilecache.Options{})
		tl, _, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
		if err != nil {
			t.Fatal(err)
		}
		defer tl.Close()
		f := <-feeds
		f.send(t, pattern(1000))
		f.send(t, pattern(2000))
		synctest.Wait()
		b, err := tl.Next(context.Background(), 0)
		if err != nil || len(b) != 1000 {
			t.Fatalf("got %d bytes, %v, want 1000", len(b), err)
		}
		f.CloseWithError(errors.New("checksum mismatch"))
		if _, err := tl.Next(context.Background(), 1000); err == nil || err == io.EOF { //nolint:errorlint // io.EOF itself
			t.Errorf("got error %v, want the checksum's", err)
		}
	})
}

func TestClientsLeave(t *testing.T) {
	phases := []struct {
		name string
		sent int // bytes when the first client leaves; -1: before the headers
	}{{"before the headers", -1}, {"before the first byte", 0}, {"mid-body", 5000}}
	for _, tc := range phases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body := pattern(300_000)
				headers, feeds := make(chan struct{}), make(chan feed, 1)
				o := newOrigin(t, func(ctx context.Context, _ int, _ tile.Condition) (*tile.Object, error) {
					<-headers
					f := newFeed(ctx, int64(len(body)))
					feeds <- f
					return f.object, nil
				})
				c := newCache(t, tilecache.Options{})
				if tc.sent >= 0 {
					close(headers)
				}
				ctx, leave := context.WithCancel(context.Background())
				firstGone := make(chan error, 1)
				go func() {
					tl, _, err := c.Get(ctx, keyOf(1), day, o.fetch)
					if err == nil {
						_, err = tl.Next(ctx, int64(tc.sent))
						tl.Close()
					}
					firstGone <- err
				}()
				synctest.Wait()
				second := make(chan []byte, 1)
				go func() {
					tl, st, err := c.Get(context.Background(), keyOf(1), day, o.fetch)
					if err != nil {
						t.Error(err)
						close(second)
						return
					}
					defer tl.Close()
					check(t, "state", st.State, tilecache.Joined)
					b, err := readAll(tl)
					if err != nil {
						t.Error(err)
					}
					second <- b
				}()
				synctest.Wait()
				var f feed
				if tc.sent >= 0 {
					f = <-feeds
					f.send(t, body[:tc.sent])
					synctest.Wait()
				}
				began := time.Now()
				leave()
				checkErr(t, "the first client", <-firstGone, context.Canceled)
				check(t, "time that took", time.Since(began), 0)
				if tc.sent < 0 {
					close(headers)
					f = <-feeds
				}
				f.send(t, body[max(0, tc.sent):])
				f.Close()
				checkBytes(t, <-second, body)
				synctest.Wait()
				check(t, "fetches", o.calls(), 1)
			})
		})
	}
}
