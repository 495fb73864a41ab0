// Package proxy is the HTTP front of tilegate: it parses a request's path strictly, asks auth who wants
// what, takes tiles from tilecache or from an Origin, and answers so that browsers and CDNs can cache.
//
// # The way of a tile
//
// Everything that happens to a tile's request stands in the order in which it happens:
//
//	ServeHTTP   proxy.go       the exchange begins; finish writes its line in the access log
//	route       proxy.go       CORS, the CDN's lock, and which handler it is
//	tile        tile.go        the path, authorization, the cache, the answer
//	authorize   authorize.go   who asks, and may they? Before anything is looked up
//	Cache.Get   tilecache      held, or one shared fill for all who wait
//	fetch       tileset.go     asks the Origin, and looks at the object's first bytes
//	writeTile   tile.go        validators, ranges, encodings, then the bytes as they arrive
//	fail        errors.go      the one table from errors to statuses
//
// The other routes have a file each: tilejson.go (and the catalogue), session.go, tokens.go, verify.go,
// presign.go, credentials.go, health.go, page.go and, on a listener of its own, admin.go.
//
// # Who decides what
//
// What may be seen is decided in authorize.go alone. What browsers and CDNs may keep is decided in
// cachecontrol.go, once for each tileset. Which status an error becomes is decided in errors.go. How long
// a client may take is decided in package wire. What is kept in memory is decided in tilecache.
//
// # Header fields
//
// Values that do not change from request to request are slices made once, and are assigned to the header
// map directly: a hit allocates nothing of its own, which TestHitAllocations holds.
package proxy
