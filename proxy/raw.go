package proxy

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tilegate/internal/tile"
	"tilegate/proxy/archive"
	"tilegate/proxy/wire"

	"tilegate/tilecache"
)

const (
	// archiveExtension ends the path of an archive that is served as a file.
	archiveExtension = ".pmtiles"
	// maxStreams bounds the archives that are being streamed at once, and maxStreamsOfOne those to one caller: each holds
	// a connection to the store for as long as its client reads.
	maxStreams      = 512
	maxStreamsOfOne = 128
	// maxRawResumes is how often a body that breaks off is asked for from there.
	maxRawResumes = 3
)

var archiveType = []string{"application/vnd.pmtiles"}

// rawArchive answers GET and HEAD of an archive as a file, whole or by one range, as pmtiles.js and GDAL ask for it. The
// bytes pass through and are not kept.
func (p *Proxy) rawArchive(x *exchange, r *http.Request, id, pathToken string) error {
	x.what = "archive"
	x.Set("X-Content-Type-Options", nosniff)
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return methodNotAllowed("GET, HEAD")
	}
	base, err := p.authorizeArchive(x, r, id, pathToken)
	if err != nil {
		return err
	}
	x.usage = p.opt.Usage
	if err := p.limitFirst(x, r); err != nil {
		return err
	}
	leave, err := p.streams.take(p.holder(x, r))
	switch {
	case errors.Is(err, errNoPlaceOfMine):
		return errManyStreams
	case err != nil:
		return tilecache.ErrOverloaded
	}
	defer leave()
	return base.withArchive(r.Context(), func(ts *tileset, state archive.State) error {
		return p.streamArchive(x, r, ts, state.Generation)
	}, x.again)
}

// holder is whom a stream counts for: the subject of the credential, else the client's address or IPv6 network.
func (p *Proxy) holder(x *exchange, r *http.Request) string {
	if x.grant != nil && x.grant.Subject != "" {
		return "subject " + x.grant.Subject
	}
	return "address " + wire.ClientNetwork(p.client(r)).String()
}

var errManyStreams = errors.New("too many archives are being streamed to one caller")

// streamArchive sends a generation of an archive: 200, 206, 304, 412 or 416.
func (p *Proxy) streamArchive(x *exchange, r *http.Request, ts *tileset, g *archive.Generation) error {
	have := validators{g.ETag, g.LastModified}
	x.Set("Cache-Control", ts.cacheControl)
	if have.etag != "" {
		x.Set("Etag", []string{have.etag})
	}
	if !have.modified.IsZero() {
		x.Set("Last-Modified", []string{have.modified.UTC().Format(http.TimeFormat)})
	}
	if have.preconditionFailed(r.Header) {
		return refuse(http.StatusPreconditionFailed, "The archive has changed: it no longer meets the request's conditions.")
	}
	if have.notModified(r.Header) {
		p.notModified(x)
		return nil
	}
	if err := p.limit(x, r); err != nil {
		return err
	}
	code, part := http.StatusOK, byteRange{0, g.Size}
	if r.Method == http.MethodGet {
		given, ranged, satisfiable := have.requestedRange(r.Header, g.Size)
		if !satisfiable {
			return &rangeError{g.Size}
		}
		if ranged {
			code, part = http.StatusPartialContent, given
		}
	}
	x.contents = contentsOf(g.Header, part)
	if err := p.send(x, r, ts, false); err != nil {
		return err
	}
	open := func(sent int64) (io.ReadCloser, error) {
		o, err := ts.archived.Part(r.Context(), g, part.offset, part.length, sent)
		if err != nil {
			return nil, notFetched(err)
		}
		return o.Body, nil
	}
	var body io.ReadCloser // nil: HEAD
	if r.Method == http.MethodGet {
		var err error
		if body, err = open(0); err != nil {
			return err
		}
	}
	if code == http.StatusPartialContent {
		x.Set("Content-Range", []string{part.contentRange(g.Size)})
	}
	x.Set("Accept-Ranges", acceptRanges)
	x.Set("Content-Type", archiveType)
	x.Set("Content-Length", []string{formatLength(part.length)})
	if body == nil {
		x.WriteHeader(code)
		return nil
	}
	return copyPart(x, r, code, part.length, body, open)
}

// copyPart sends length bytes of body, and closes it. Where the body breaks off, open gives one that goes on after so many bytes.
func copyPart(x *exchange, r *http.Request, code int, length int64, body io.ReadCloser, open func(sent int64) (io.ReadCloser, error)) error {
	defer func() { _ = body.Close() }()             // what mattered, the reading has said
	buffer := unpackBuffers.Get().(*[32 << 10]byte) //nolint:forcetypeassert // the pool holds nothing else
	defer unpackBuffers.Put(buffer)
	for sent, resumed := int64(0), 0; sent < length; {
		n, err := body.Read(buffer[:min(int64(len(buffer)), length-sent)])
		if n > 0 {
			if x.Status() == 0 {
				x.WriteHeader(code)
			}
			x.ExtendDeadline(time.Now())
			if _, err := x.Write(buffer[:n]); err != nil {
				return err
			}
			sent += int64(n)
		}
		if err == nil || sent == length {
			continue
		}
		_ = body.Close()
		body = http.NoBody
		if r.Context().Err() != nil || resumed == maxRawResumes {
			if errors.Is(err, io.EOF) {
				err = tile.ErrUnreachable
			}
			return notFetched(fmt.Errorf("the archive broke off at byte %d of %d: %w", sent, length, err))
		}
		resumed++
		next, err := open(sent)
		if err != nil {
			return err
		}
		body = next
	}
	return nil
}
