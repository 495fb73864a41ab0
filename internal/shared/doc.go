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
// Nothing here may fail a request. Client.Run does all that talks to Redis, in goroutines of its own and with bounded waits.
package shared
