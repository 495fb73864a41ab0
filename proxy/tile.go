package proxy

import (
	"errors"
	"io"
	"net/http"
	"time"

	"tilegate/internal/tile"
	"tilegate/tilecache"
)

const (
	// atOnce is what a connection's send buffer takes without waiting for the client, in bytes. A tile of
	// that size is one write, which need not be interrupted.
	atOnce = 32 << 10
	// writeChunk is how much of a larger tile is written under one deadline.
	writeChunk = 64 << 10
)

// tile answers GET and HEAD of a tile: one straight line from the path to the bytes.
func (p *Proxy) tile(x *exchange, r *http.Request, path, pathToken string) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET, HEAD")
	}
	want, ok := parseTilePath(path)
	if !ok {
		return errBadPath
	}
	if p.opt.ServerTiming {
		x.timing = &timing{last: x.start}
	}
	ts, edge, err := p.authorize(x, r, want, pathToken)
	if x.timing != nil {
		x.timing.auth = x.timing.lap()
	}
	if err != nil {
		return err
	}
	x.usage = p.opt.Usage
	if !edge {
		if err := p.limitFirst(x, r); err != nil {
			return err
		}
	}
	if ts.archived != nil {
		return p.archivedTile(x, r, ts, want, edge)
	}
	return p.serveTile(x, r, ts, want, edge, ts.Freshness)
}

// serveTile answers with a tile that the caller may see.
func (p *Proxy) serveTile(x *exchange, r *http.Request, ts *tileset, want tilePath, edge bool, fresh tilecache.Policy) error {
	if !ts.offers(want) {
		return ts.otherTiles()
	}
	if edge {
		ts.setTags(x, want)
	}
	if !ts.covers(want.z, want.x, want.y) {
		if err := p.limitViewer(x, r, edge); err != nil {
			return err
		}
		return p.writeMissing(x, r, ts, edge)
	}

	x.contents = contentOf(want)
	if !edge && !conditional(r) {
		if err := p.limitTiles(x, r, ts, false); err != nil {
			return err
		}
	}

	t, status, err := p.opt.Cache.Get(r.Context(), ts.key(want), fresh, ts.fetcher)
	x.outcome = outcomeOf(status.State)
	if x.timing != nil {
		if d := x.timing.lap(); x.outcome == outcomeMiss || x.outcome == outcomeJoined {
			x.timing.origin = d
		} else {
			x.timing.cache = d
		}
	}
	if errors.Is(err, tile.ErrMissing) {
		if err := p.limitViewer(x, r, edge); err != nil {
			return err
		}
		x.Set(statusHeader, p.hits.value(status))
		return p.writeMissing(x, r, ts, edge)
	}
	if err != nil {
		return notFetched(err)
	}
	defer t.Close()
	return p.writeTile(x, r, ts, edge, t, status)
}

// named finds the tileset that a path names, or the default one; nil where there is none.
func (p *Proxy) named(want tilePath) *tileset {
	if want.tileset == "" {
		return p.tilesets[p.defaultID]
	}
	return p.tilesets[want.tileset]
}

// writeTile sends a tile that the cache holds or is filling: 200, 206, 304, 412 or 416.
func (p *Proxy) writeTile(x *exchange, r *http.Request, ts *tileset, edge bool, t tilecache.Tile, status tilecache.Status) error {
	stored := t.Header()
	x.Set("X-Content-Type-Options", nosniff)
	x.Set("Cache-Control", ts.cacheControl)
	x.Set(statusHeader, p.hits.value(status))
	if edge {
		ts.setSharedHeaders(x)
		if status.Outdated {
			x.Set("Cache-Control", outdatedSharedCacheControl)
			x.Set("Cdn-Cache-Control", outdatedCDNCacheControl)
			x.Set("Surrogate-Control", outdatedCDNCacheControl)
		}
	}
	size, have := t.Size(), validators{t.ETag(), t.LastModified()}
	unpack := false
	if coding := t.Encoding(); coding != "" {
		varyByEncoding(x)
		if unpack = !accepts(r.Header["Accept-Encoding"], coding); unpack {
			have.etag, size = unpackedTag(have.etag), -1
		}
	}
	if unpack && have.etag != "" {
		x.Set("Etag", []string{have.etag})
	} else if have.etag != "" {
		x.Set("Etag", stored["Etag"])
	}
	if !have.modified.IsZero() {
		x.Set("Last-Modified", stored["Last-Modified"])
	}
	if have.preconditionFailed(r.Header) {
		return refuse(http.StatusPreconditionFailed, "The tile has changed: it no longer meets the request's conditions.")
	}
	if have.notModified(r.Header) {
		p.notModified(x)
		return nil
	}
	if err := p.limitViewer(x, r, edge); err != nil {
		return err
	}
	if err := p.send(x, r, ts, edge); err != nil {
		return err
	}
	if ts.contentType != nil {
		x.Set("Content-Type", ts.contentType)
	} else {
		x.Set("Content-Type", stored["Content-Type"])
	}
	if unpack {
		return p.writeUnpacked(x, r, t)
	}
	if coding := t.Encoding(); coding != "" {
		x.Set("Content-Encoding", passedOn[coding])
	}
	code, part := http.StatusOK, byteRange{0, size}
	if size >= 0 {
		length := stored["Content-Length"]
		if length == nil { // the origin has not told it
			length = []string{formatLength(size)}
		}
		x.Set("Content-Length", length)
		if edge {
			// nginx serves parts of what it caches only if the answer had this field. Others may ask for parts
			// without it (RFC 9110 section 14.3), and a ninth field would double the cost of the header: Go's
			// map then outgrows its first group.
			x.Set("Accept-Ranges", acceptRanges)
		}
		if r.Method == http.MethodGet {
			given, ranged, satisfiable := have.requestedRange(r.Header, size)
			if !satisfiable {
				return &rangeError{size}
			}
			if ranged {
				code, part = http.StatusPartialContent, given
				x.Set("Content-Range", []string{part.contentRange(size)})
				x.Set("Content-Length", []string{formatLength(part.length)})
			}
		}
	}
	if r.Method == http.MethodHead {
		x.WriteHeader(code)
		return nil
	}
	return p.copyTile(x, r, t, code, part)
}

// copyTile writes the requested part of a tile, as it arrives. Nothing is sent before the first byte is
// there, so that a fill which fails before that is still an error with a status.
func (p *Proxy) copyTile(x *exchange, r *http.Request, t tilecache.Tile, code int, part byteRange) error {
	if body, whole := t.Bytes(); whole && part.length <= atOnce {
		x.WriteHeader(code)
		return x.WriteWhole(body[part.offset : part.offset+part.length])
	}
	t.CutWith(x.Interrupt())
	offset, end := part.offset, part.offset+part.length
	for part.length < 0 || offset < end {
		chunk, err := t.Next(r.Context(), offset)
		if err != nil {
			if part.length < 0 && errors.Is(err, io.EOF) {
				break
			}
			return notFetched(err)
		}
		chunk = chunk[:min(len(chunk), writeChunk)]
		if part.length >= 0 {
			chunk = chunk[:min(int64(len(chunk)), end-offset)]
		}
		if x.Status() == 0 {
			x.WriteHeader(code)
		}
		x.ExtendDeadline(time.Now())
		if _, err := x.Write(chunk); err != nil {
			return err
		}
		offset += int64(len(chunk))
		if len(chunk) < writeChunk && offset != end {
			// The rest has not arrived yet. What there is goes out now.
			if err := x.FlushError(); err != nil {
				return err
			}
		}
	}
	if x.Status() == 0 {
		x.WriteHeader(code)
	}
	return nil
}
