// Package origin is where tiles come from: objects in S3, read with credentials that are fresh before they are
// needed. It tells failures apart, makes presigned URLs that stay the same for a while, and issues credentials
// for a caller's own use.
//
// An AWS is what all sources share, and an S3 is one source: a tileset's tiles, or a file. A Store is where a source
// is: AWS in one region, or another service. New makes all of them from Options, Run keeps the credentials fresh, and S3.Fetch is the tile.Fetch that a cache calls.
//
//	a, err := origin.New(ctx, origin.Options{Store: origin.Store{Region: "eu-central-1"}, Sources: sources})
//	…
//	go a.Run(ctx)
//	object, err := a.Source("basemap").Fetch(ctx, tile.Key{Z: 7, X: 66, Y: 44, Scale: 1}, tile.Condition{})
//
// The way of a Fetch: fetch.go waits for credentials (credentials.go, refresh.go) and for a turn (gate.go), sends a
// signed GET (getobject.go, transport.go), judges the answer (classify.go, object.go, span.go) and retries (retry.go).
// A 403 may mean a missing tile: probes.go finds out. body.go reads the body and compares it with S3's checksum or
// ETag (checksum.go, etag.go). role.go and sts.go get the credentials; policy.go narrows them.
//
// # Loops that retry
//
// Every loop that may send a request to S3 again is in this table, with the most requests that it causes. A retry
// after a backoff and a second reading both take from the source's retry budget: ten, and a tenth of its requests.
//
//	loop             when                                  bound                              requests
//	get              5xx, SlowDown, no answer              3 attempts (AWS_MAX_ATTEMPTS)      3
//	get              S3 rejects the credentials            once, where there are others       1
//	get              S3's answer corrects the clock        once                               1
//	get              S3 names another region               once in the source's life          1
//	get              x-amz-checksum-mode is refused        once, of whole objects, until      1
//	                                                       it is left out with success
//	get              412 where 304 belongs                 once, of conditional requests      1
//	runProbes        a 403, which ends get                 3 keys, each signed twice;         6
//	                                                       shared by all for one second
//	one Fetch                                              8 for an object, else              14
//	tileset.open     the body broke off at its beginning   2 Fetches of an object: 5 each,    14
//	                                                       412 twice, the others once
//	source.resume    the body broke off later              3 Fetches more of a part: 11 each  33
//	one fill of the cache                                                                     47
//	net/http         a kept connection broke off           2 kept connections and a new one   3 times each
//
// tileset.open is in package proxy, source.resume in package tilecache. A fill that comes to the end of its body may
// end with one request more, a second reading (etag.go), but then at least one of its last Fetches got an object.
//
// So one request of a client causes 47 requests at most, and 141 where kept connections break off. Two clients that
// want an object which is too large for the cache cannot share it: the second one gets a fill of its own, and a range
// far into such an object takes one more Fetch. After any other failure the cache does not ask again by itself.
//
// Two loops run in the background and belong to no client. The refresh of credentials (refresh.go) tries again
// after 1 to 30 s; beside its plan, rejected credentials force two in ten seconds and AccessDenied one in a minute,
// and a corrected clock repeats the call of STS once. The probe at start (health.go) asks for one byte of each
// source, after 1 to 30 s again, until S3 has answered once.
package origin
