// Package archive reads the tiles of one PMTiles archive in a bucket, which may be replaced at any time. It knows the
// format from internal/pmtiles, and S3 by a function that reads a range. It does not know HTTP.
//
//	archive.go     Archive: which generation is current, and for how long
//	renew.go       the one call that reads the header, or asks whether it still holds
//	generation.go  Generation: one version of the archive
//	parts.go       directories and metadata, which the cache holds
//	decoders.go    how many parts are decoded at once, over all archives
//	fetch.go       a tile is one range
//
// # Generations
//
// A replacement of the file makes a new generation. Each read beyond the first names the version of the file that it
// belongs to (If-Match, or If-Unmodified-Since where there is no strong ETag), so that a header, a directory and a tile are
// always of one version. A read that is told of another version fails with tile.ErrChanged. Whoever gets that calls
// Replaced, which reads the header anew, once for all who need it, and goes on with the new generation.
//
// # Freshness
//
// Whether the archive is still the same is asked once per Options.Fresh, in the background, however many tiles are
// asked for. State.Validated is when that was last known. It makes all tiles of the archive as fresh as it is.
package archive
