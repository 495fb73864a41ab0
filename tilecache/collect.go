package tilecache

import (
	"bytes"
	"cmp"
	"errors"
	"io"

	"tilegate/internal/tile"
)

// collect reads an object of which the origin has not told the length, so that it is shared and kept like any other.
// The bytes are reserved as they arrive, a window at a time. An object that turns out to be too large passes through
// to one reader, which first gets what has been collected.
func (f *fill) collect(obj *tile.Object) error {
	c := f.cache
	src := c.newSource(f.ctx, f.key, f.fetch, obj)
	var windows [][]byte
	size := int64(0)
	defer func() {
		if src != nil { // else it passes through
			src.close()
			c.room.release(int64(len(windows)) * window)
		}
	}()
	passThrough := func(end error) error {
		held := int64(len(windows)) * window
		err := f.passThrough(collected(obj, windows, cmp.Or(end, src.broken)), held)
		if err != nil {
			c.room.release(held)
		}
		src = nil
		return err
	}
	var err error
	for err == nil {
		if size > c.opts.MaxObject {
			break
		}
		if last := len(windows) - 1; last < 0 || len(windows[last]) == window {
			err := c.reserve(f.ctx, f.hash, window, &f.maxWait)
			switch {
			case errors.Is(err, ErrOverloaded) && size > 0:
				return passThrough(nil)
			case err != nil:
				return err
			}
			windows = append(windows, make([]byte, 0, window))
		}
		last := &windows[len(windows)-1]
		var n int
		n, err = src.read((*last)[len(*last):window])
		*last = (*last)[:len(*last)+n]
		size += int64(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	whole := *obj
	whole.Size = size
	cost := c.entryCost(f.key, &whole)
	if size > c.opts.MaxObject || cost > c.room.largest() {
		return passThrough(err)
	}
	switch reserved := c.reserve(f.ctx, f.hash, cost, &f.maxWait); {
	case errors.Is(reserved, ErrOverloaded):
		return passThrough(err)
	case reserved != nil:
		return reserved
	}
	e := c.newEntry(f.key, f.hash, &whole)
	e.validated = c.validated(obj)
	e.cost = cost
	e.data = make([]byte, 0, size)
	for _, w := range windows {
		e.data = append(e.data, w...)
	}
	f.publish(e)
	f.commit(e)
	return nil
}

// collected is obj with a body of which the first bytes have been read. end, unless it is nil, ended it there.
func collected(obj *tile.Object, windows [][]byte, end error) *tile.Object {
	var readers []io.Reader
	for _, w := range windows {
		readers = append(readers, bytes.NewReader(w))
	}
	if end != nil {
		readers = append(readers, failedReader{end})
	}
	rest := *obj
	rest.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(append(readers, obj.Body)...), obj.Body}
	return &rest
}

// failedReader has no bytes.
type failedReader struct{ err error }

func (r failedReader) Read([]byte) (int, error) { return 0, r.err }
