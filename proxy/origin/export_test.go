package origin

import (
	"context"

	"tilegate/internal/tile"
)

// ReadSpan gets length bytes of an object from byte first on.
func (s *S3) ReadSpan(ctx context.Context, name string, first, length int64, cond tile.Condition) (*tile.Object, error) {
	return s.readSpan(ctx, name, span{first, length}, cond)
}
