// Package shared is what several instances of tilegate know together, in Redis or Valkey.
//
// A Feed is a set of facts that every instance must learn: a stream to which each instance appends what it learns first, and
// which all of them read every 250 ms. A stream is no authority. Each instance keeps what it knows, and writes it
// again when the stream has lost it: after a FLUSHALL, a failover to a replica that lagged, or an outage during which
// facts were made here.
//
// Redis is not trusted. Each record is sealed with AES-256-GCM under a key that follows from a signing key of the
// service, the prefix and the feed. So whoever can write to Redis, but has no signing key, can neither make a record nor read one,
// nor move one to another feed or prefix. They can delete records; what an instance knows stays in force there.
//
// Client.Tiles is a second level of tiles, between the memory of an instance and S3. It runs inside the single fill of a tile. A tile is
// sealed together with its name, which is a hash, so that no other tile can stand in its place. What does not open
// is a miss. A look-up has a short deadline, and after one that failed there is none for a second.
//
// Client.AddRequests and Client.AddTiles count what callers use at all instances: sums, and HyperLogLogs of distinct tiles. Their names, and
// which tiles are in them, are hidden by keys that follow from the signing key. Redis itself counts, so that the counts cannot be
// authenticated.
//
// Nothing here may fail a request. Besides those look-ups, goroutines of Client.Run do all that talks to Redis, with bounded waits
// and queues.
package shared
