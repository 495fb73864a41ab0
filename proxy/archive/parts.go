package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
	"tilegate/tilecache"
)

// maxResumes is how often a body that breaks off is asked for from there.
const maxResumes = 3

// The parts of an archive that the cache holds, for tilecache.ValueKey.
const (
	directoryPart uint8 = iota
	metadataPart
)

func (a *Archive) partKey(g *Generation, part uint8, offset int64) tilecache.ValueKey {
	return tilecache.ValueKey{Tileset: a.o.Tileset, Generation: g.ID, Part: part, Offset: offset}
}

// decodeRoot gives the cache the root directory, of which first has the bytes.
func (a *Archive) decodeRoot(ctx context.Context, g *Generation, first []byte) (*pmtiles.Directory, error) {
	root := g.Header.Root
	return asDirectory(a.o.Cache.Value(ctx, a.partKey(g, directoryPart, root.Offset), func(ctx context.Context, reserve func(int64) error) (tilecache.Value, error) {
		return a.decode(ctx, g, first[root.Offset:root.End()], reserve)
	}))
}

// directory returns the root directory, or a leaf.
func (a *Archive) directory(ctx context.Context, g *Generation, r pmtiles.Range) (*pmtiles.Directory, error) {
	return asDirectory(a.o.Cache.Value(ctx, a.partKey(g, directoryPart, r.Offset), func(ctx context.Context, reserve func(int64) error) (tilecache.Value, error) {
		b, err := a.readPart(ctx, g, r, reserve)
		if err != nil {
			return nil, err
		}
		return a.decode(ctx, g, b, reserve)
	}))
}

func asDirectory(v tilecache.Value, err error) (*pmtiles.Directory, error) {
	if err != nil {
		return nil, err
	}
	return v.(*pmtiles.Directory), nil //nolint:forcetypeassert // its key holds nothing else
}

// decode decodes a directory. How much that takes is measured first, so that a directory that lies takes nothing from tiles.
func (a *Archive) decode(ctx context.Context, g *Generation, b []byte, reserve func(int64) error) (tilecache.Value, error) {
	var (
		coding         = g.Header.InternalCompression
		unpacked, size int64
		d              *pmtiles.Directory
	)
	err := a.decoded(ctx, reserve, func() (need int64, err error) {
		unpacked, size, err = pmtiles.MeasureDirectory(b, coding, a.o.Cache.LargestValue())
		return 2*unpacked + size, err // what is unpacked grows by copying
	}, func() (err error) {
		d, err = pmtiles.DecodeDirectory(b, coding, max(unpacked, size))
		return err
	})
	switch {
	case err == nil:
		return d, nil
	case errors.Is(err, pmtiles.ErrTooLarge):
		return nil, g.refuse(fmt.Sprintf("%v: a directory may take a quarter of cache.memory; raise that, or make smaller directories: pmtiles cluster", err))
	}
	return nil, g.refuseFormat(err)
}

// Metadata returns the metadata of a generation. Errors are as those of Fetch.
func (a *Archive) Metadata(ctx context.Context, g *Generation) (*pmtiles.Metadata, error) {
	r, err := g.Header.MetadataRange()
	if err != nil {
		return nil, g.refuseFormat(err)
	}
	v, err := a.o.Cache.Value(ctx, a.partKey(g, metadataPart, r.Offset), func(ctx context.Context, reserve func(int64) error) (tilecache.Value, error) {
		var b []byte
		if r.Length > 0 {
			if b, err = a.readPart(ctx, g, r, reserve); err != nil {
				return nil, err
			}
		}
		return a.decodeMetadata(ctx, g, b, reserve)
	})
	if err != nil {
		return nil, err
	}
	return v.(*pmtiles.Metadata), nil //nolint:forcetypeassert // its key holds nothing else
}

func (a *Archive) decodeMetadata(ctx context.Context, g *Generation, b []byte, reserve func(int64) error) (tilecache.Value, error) {
	var m *pmtiles.Metadata
	coding := g.Header.InternalCompression
	err := a.decoded(ctx, reserve, func() (need int64, err error) {
		unpacked, err := pmtiles.MeasureMetadata(b, coding)
		if most := a.o.Cache.LargestValue(); err == nil && unpacked > most {
			return 0, g.refuse(fmt.Sprintf("the metadata takes %d bytes unpacked, over %d, a quarter of cache.memory; raise that", unpacked, most))
		}
		return 3 * unpacked, err // JSON is unpacked, and its longest member is copied twice, one after the other
	}, func() (err error) {
		m, err = pmtiles.DecodeMetadata(b, coding)
		return err
	})
	if err != nil {
		return nil, g.refuseFormat(err)
	}
	return m, nil
}

// readPart reads a part of a generation as a whole.
func (a *Archive) readPart(ctx context.Context, g *Generation, r pmtiles.Range, reserve func(int64) error) ([]byte, error) {
	if most := a.o.Cache.LargestValue(); r.Length > most {
		return nil, g.refuse(fmt.Sprintf("a directory or metadata of %d bytes at byte %d is over %d, a quarter of cache.memory; raise that, or make smaller directories: pmtiles cluster",
			r.Length, r.Offset, most))
	}
	if err := reserve(r.Length); err != nil {
		return nil, err
	}
	o, err := a.read(ctx, g, r, 0)
	if err != nil {
		return nil, err
	}
	return a.readAll(ctx, g, o, r)
}

// read asks for a part of a generation, from offset in that part on. Its error is tile.ErrChanged where the archive is
// another one by now, or gone.
func (a *Archive) read(ctx context.Context, g *Generation, r pmtiles.Range, offset int64) (*tile.Object, error) {
	o, err := a.o.Read(ctx, r.Offset, r.Length, g.pin(offset))
	if errors.Is(err, tile.ErrMissing) {
		return nil, fmt.Errorf("%w: the archive is gone", tile.ErrChanged)
	}
	if err != nil {
		return nil, err
	}
	if !g.isOf(o) {
		_ = o.Body.Close()
		return nil, fmt.Errorf("%w: another ETag, Last-Modified or length than the archive's", tile.ErrChanged)
	}
	if o.Size != r.Length {
		_ = o.Body.Close()
		return nil, g.refuse(fmt.Sprintf("the store sends %d bytes for the %d at byte %d", o.Size, r.Length, r.Offset))
	}
	return o, nil
}

// readAll reads the body of o, which has the bytes of r.
func (a *Archive) readAll(ctx context.Context, g *Generation, o *tile.Object, r pmtiles.Range) ([]byte, error) {
	b := make([]byte, r.Length)
	for n, resumed := 0, 0; ; resumed++ {
		m, err := io.ReadFull(o.Body, b[n:])
		_ = o.Body.Close() // what mattered, the reading has said
		n += m
		switch {
		case err == nil:
			return b, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			err = tile.ErrUnreachable
		}
		if resumed == maxResumes {
			return nil, fmt.Errorf("the archive's bytes broke off at %d of the %d from byte %d: %w", n, r.Length, r.Offset, err)
		}
		if o, err = a.read(ctx, g, r, int64(n)); err != nil {
			return nil, err
		}
	}
}
