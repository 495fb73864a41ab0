package tile

// Key names a tile's bytes, never who asks for them. Take Tileset and Version from the configuration
// and not from a request, so that a cache entry does not keep a request's memory alive.
type Key struct {
	Tileset string
	Version string // the tileset's configured version: raising it leaves the old entries behind
	Z       uint8  // 0 to MaxZoom
	X, Y    uint32 // below 2^Z, Y counted from the north
	Scale   uint8  // pixel ratio; 1 unless the source has {scale}

	// Generation names which archive a tile was read from, for its tileset is one file that may be replaced; 0 of all
	// tiles that are objects of their own.
	Generation uint64

	// Path names an object of a bundle, of which the fields above have Tileset and Version alone; "" of tiles. What is
	// made of an object has its path, a NUL and what it is.
	Path string
}
