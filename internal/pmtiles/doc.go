// Package pmtiles reads and writes PMTiles archives, version 3: one file that holds all tiles of a map. It does no
// I/O. The caller reads byte ranges of the archive, and this package says what they mean and which range comes next.
// The format: https://github.com/protomaps/PMTiles/blob/main/spec/v3/spec.md
//
// An archive is a header, a root directory, leaf directories, metadata and the tiles' bytes. A directory is a list of
// entries, sorted by tile id. An entry names the bytes of a run of tiles, or a leaf directory with more entries. Looking
// up a tile is one loop, here with a function read for ranges and without errors:
//
//	first := read(pmtiles.Range{Length: pmtiles.FirstRead}) // header and root; a small archive ends before
//	header := pmtiles.ParseHeader(first, objectSize)
//	encoded := first[header.Root.Offset:header.Root.End()]
//	id := pmtiles.TileID(z, x, y)
//	for depth := 1; ; depth++ {
//		directory := pmtiles.DecodeDirectory(encoded, header.InternalCompression, maxDirectory)
//		found, next := header.Lookup(directory, id, depth)
//		switch found {
//		case pmtiles.Absent: // proven: the archive has no such tile
//		case pmtiles.Tile: // read(next) is the tile, compressed as header.TileCompression says
//		case pmtiles.Leaf:
//			encoded = read(next)
//		}
//	}
//
// A [Header], a [Directory] and a [Metadata] never change once they are made: goroutines may share them, and a cache
// can count the last two by their Size. None of them refers to the bytes that it was decoded from.
//
// An archive is untrusted input. Whatever its bytes are, no function panics, and these are the bounds:
//
//	header and root directory      both within the first 16,384 bytes
//	a directory                    the caller's maximum, for its decompressed bytes and for its 24 bytes an entry
//	a leaf directory, as stored    64 MiB (MaxLeaf)
//	directories from root to tile  4 (MaxDepth), which also ends a leaf that points at itself
//	metadata, stored and decoded   16 MiB (MaxMetadata)
//	a tile, decompressed           64 MiB (MaxTile), streamed
//	a decoder's own memory         gzip 1 MiB, zstd 12 MiB, brotli 34 MiB; the last two for the largest windows
//
// What is wrong with an archive is a [FormatError], which tells an operator what, where and what helps. It wraps
// [ErrTooLarge] when one of these bounds was met. [Write] makes archives, for tests, benchmarks and the demo.
package pmtiles
