// Package tile holds the terms that all packages of tilegate share: what a tile is, which object it is
// in, and what can go wrong while it is fetched. All packages may import it, and it imports only the
// standard library.
//
//	key.go       Key names a tile's bytes, whoever asks for them
//	object.go    Condition, Object, Fetch: a question to an origin and its answer
//	errors.go    the errors of origins, one for each class of failure
//	signed.go    Signed, a URL that opens one object
//	id.go        the grammar of ids, and of the patterns that grants hold
//	zoom.go      MaxZoom and ZoomRange
//	box.go       Box, in degrees of longitude and latitude
//	area.go      Area, a union of boxes that tells which tiles it meets
//	mercator.go  the Web Mercator projection, and the tile that shows a place
//	format.go    formats of tiles: extension, media type, first bytes
//	quadkey.go   quadkeys, and the tags of a tile's cells
//	purge.go     Purge: which tiles a purge names
//	counter.go   Counter: what instances count together
//
// Two rules hold everywhere above this package. A Key holds what names the bytes and nothing of the one
// who asks, so a cache can never mix up who may see what. And an origin reports a failure as one of the
// errors of errors.go, wrapped with %w around what happened: the class decides the status that a client
// gets, and the text is for the operator's log alone.
package tile
