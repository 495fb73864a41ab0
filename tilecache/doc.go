// Package tilecache holds tiles in memory, fetches each once however many ask for it, and never holds more
// bytes than it was given.
//
// The files, in the order in which a tile meets them:
//
//	get.go        Get finds a tile, or joins its one fill
//	fill.go       a fill fetches a tile for everyone who waits
//	source.go     a source reads an object, and resumes a body that broke off
//	tile.go       an entry's bytes, as they grow, go to as many readers as there are
//	collect.go    an object of unknown length is read before it is shared
//	stream.go     an object too large to keep passes through to one reader
//	refresh.go    a stale tile is served while one conditional fetch renews it
//	budget.go     every byte is reserved before it is held; cost.go says what a tile costs
//	shard.go      what is held
//	values.go     decoded parts of archives, which share the budget with the tiles
//	admission.go  which tile makes room for another, by how often and how recently each was asked for
//	tuner.go      when the requests change: which tiles make room before all others
//
// # The states of an entry
//
// An entry is one version of a tile: its metadata and its bytes.
//
//	state            in a list of the shard   found by Get          what follows
//	filling          no; its fill is in fills through its fill      held (commit), or gone
//	held             one of the ranking's     yes                   evicted, replaced or purged
//	retired          no; in the shard's and   yes: it is held       gone, with its last reader
//	                 the budget's retired     again
//	outdated         no; in the budget's      no                    gone, with its last reader
//	passing through  no; in the budget's      no                    gone, with its reader
//
// A retired entry was evicted while somebody read it. An outdated one was replaced or purged while somebody
// read it. A retired entry whose readers are being cut off is not found again.
//
// # Who holds a reference, and when
//
// refs counts an entry's holders. Whoever gives back the last reference returns the entry's cost to the
// budget: bytes count until nobody holds them.
//
//	holder                                    takes it                 gives it back
//	the cache                                 insert, restore          letGo
//	the entry's fill                          publish                  end
//	a request that waits for the fill         publish, later join      leave
//	a request with a hit                      open                     Tile.Close
//	a refresh, of the old entry               begin                    end
//	a request that joined a refresh: 304      renew                    leave
//	the reader of what passes through         openStream               Tile.Close
//
// # Invariants
//
//   - used never exceeds limit: bytes are reserved before they are allocated.
//   - An entry's bytes are written once, from front to back, by its fill. A reader sees those before grown.
//   - fills holds at most one fill for a key. A fill that was purged or abandoned is not in it, and cannot
//     commit.
//   - A reference is added under the shard's lock, or by who holds one. A count of one that is seen under
//     the lock cannot grow.
//   - Only readers that registered with CutWith are cut off, and only those of tiles that left the cache.
//
// # Order of locks
//
// Whoever holds a lock may take only those further right:
//
//	shard.mu -> budget.mu -> entry.mu -> what a reader's cut function locks
//	values.mu -> budget.mu
//
// The tuner's lock is taken while none of these is held, and none of these while it is held.
// Nobody holds the locks of two shards. No lock is held during a fetch, or while a client is written to.
// Tile.Close and cut both take entry.mu, so no reader is cut off once it has closed its tile.
package tilecache
