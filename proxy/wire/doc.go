// Package wire is how bytes leave: the HTTP server with its limits, TLS with certificates that may be
// replaced, and a response writer that cuts off clients which take nothing. It knows requests and
// answers, and nothing of tiles.
//
//	server.go      Server: a listener, its limits, and its shutdown
//	tls.go         TLSConfig: a certificate that follows its files
//	writer.go      Writer: the response writer of one request
//	body.go        requests with a body: how long they may take, and which are refused
//	listener.go    accepts connections, and refuses those of clients that have too many
//	clients.go     Clients: what one client, and all of them, may hold at once
//	stream.go      HTTP/2 streams, which are watched where HTTP/1.1 has a deadline
//	connection.go  what the requests of one connection share, and the watch over its streams
//	fields.go      header fields that go around net/http's map
//	joinedconn.go  a connection that sends in one write what net/http writes in several
//	turn.go        the lock of such a connection
//	unsent_*.go    how much the kernel may hold that it has not sent
//
// # When is a client too slow?
//
// A client may be as slow as it likes while it takes something. Over HTTP/1.1 each write has a deadline
// (Writer.ExtendDeadline) of Server.WriteStall, which moves on with each write; the kernel is told to
// report progress early. Over HTTP/2 streams share a connection, and one of sixty tiles on a slow link
// waits for its turn far longer than its own bytes take, so a deadline for each write would be wrong. A
// stream is stalled when it waits while its whole connection sends nothing. A connection with streams is
// looked at four times in a stall; a hit pays two additions for it, and no clock.
//
// # What may a client hold?
//
// A request counts for its client from Clients.Enter to Entry.Leave, which comes when the client has taken
// the answer: End sends what net/http still holds, and waits. Over the limit a request is refused; a client
// that goes on is disconnected, and its new connections are refused for a while. The listener refuses a
// connection before net/http has any work with it.
//
// # Locks
//
// Those of Clients, of its shards, of a client and of the log of refusals are never held together.
// connection.mu guards the list of its streams, joinedConn.mu what waits to be sent. Neither is held while
// the other is taken. joinedConn.mu is held while the socket is written: who must not wait for a client
// sets a deadline, or closes the connection, which take no lock.
package wire
