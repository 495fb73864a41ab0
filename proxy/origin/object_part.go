package origin

import (
	"context"

	"tilegate/internal/tile"
)

// FetchPart gets a part of a tile's or bundle's object: length bytes from first on, fewer where the object ends before. The
// answer's Total is the whole object's length. Its errors are those of Fetch. ErrChanged also means that the object of
// cond.IfMatch has no such bytes.
func (s *S3) FetchPart(ctx context.Context, key tile.Key, first, length int64, cond tile.Condition) (*tile.Object, error) {
	return s.readSpan(ctx, s.Key(key), span{first: first, length: length}, cond)
}
