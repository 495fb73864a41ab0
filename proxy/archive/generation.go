package archive

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"tilegate/internal/pmtiles"
	"tilegate/internal/tile"
)

// Generation is one version of the archive, from one replacement to the next. It is immutable.
type Generation struct {
	ID           uint64 // for tile.Key.Generation; never 0, and the same again for the same version of the file
	Header       *pmtiles.Header
	ETag         string    // strong; "" where the store gives none, and then LastModified is not zero
	LastModified time.Time // zero when unknown
	Size         int64     // of the whole archive, in bytes

	reject func(reason string) // tells the origin; may be nil
}

// fingerprint hashes what tells this version from others, and more.
func (g *Generation) fingerprint(more ...int64) [sha256.Size]byte {
	b := []byte(g.ETag)
	if g.ETag == "" {
		b = g.LastModified.UTC().AppendFormat(b, time.RFC3339)
	}
	b = binary.BigEndian.AppendUint64(append(b, 0), uint64(g.Size))
	for _, n := range more {
		b = binary.BigEndian.AppendUint64(b, uint64(n))
	}
	return sha256.Sum256(b)
}

func (g *Generation) id() uint64 {
	sum := g.fingerprint()
	return max(1, binary.BigEndian.Uint64(sum[:]))
}

// tileETag is the ETag of a tile: strong if the archive's is.
func (g *Generation) tileETag(r pmtiles.Range) string {
	sum := g.fingerprint(r.Offset, r.Length)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:15]) + `"`
	if g.ETag == "" {
		return "W/" + etag
	}
	return etag
}

// pin is the condition that a read is of this generation.
func (g *Generation) pin(offset int64) tile.Condition {
	if g.ETag != "" {
		return tile.Condition{IfMatch: g.ETag, Offset: offset}
	}
	return tile.Condition{IfUnmodifiedSince: g.LastModified, Offset: offset}
}

// isOf reports whether an answer to a read is of this generation.
func (g *Generation) isOf(o *tile.Object) bool {
	if g.ETag != "" && o.ETag != g.ETag || g.ETag == "" && !o.LastModified.Equal(g.LastModified) {
		return false
	}
	return o.Total == 0 || o.Total == g.Size
}

// Reject tells the operator why nothing of this generation can be served.
func (g *Generation) Reject(reason string) {
	if g.reject != nil {
		g.reject(reason)
	}
}

// refuse rejects the generation and returns that as an error.
func (g *Generation) refuse(reason string) error {
	g.Reject(reason)
	return fmt.Errorf("%w: %s", tile.ErrBadAnswer, reason)
}

// refuseFormat is refuse for an error of package pmtiles.
func (g *Generation) refuseFormat(err error) error {
	if _, ok := errors.AsType[*pmtiles.FormatError](err); !ok {
		return err
	}
	g.Reject(err.Error())
	return fmt.Errorf("%w: %w", tile.ErrBadAnswer, err)
}
