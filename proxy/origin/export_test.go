package origin

import (
	"context"

	"tilegate/internal/tile"
)

// ReadSpan gets length bytes of an object from byte first on.
func (s *S3) ReadSpan(ctx context.Context, name string, first, length int64, cond tile.Condition) (*tile.Object, error) {
	return s.readSpan(ctx, name, span{first, length}, cond)
}

// ChainError is what the log tells of the default chain's failure, "" where it has credentials.
func ChainError(ctx context.Context, of Store) string {
	st, _, err := (&AWS{opt: withDefaults(Options{})}).newStore(ctx, &of)
	if err == nil {
		_, err = st.baseCredentials(ctx)
	}
	if err == nil {
		return ""
	}
	return errorDetail(err)
}
