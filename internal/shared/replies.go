package shared

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// go-redis allocates the size that a reply announces before the reply has come, however large that is, and panics if there is not as
// much memory. So a reply that announces more than any answer to our commands can have does not reach it.
const (
	maxReplyLine     = 64 << 10 // bytes of a header, an error or a status
	maxReplyElements = 1 << 18  // of all arrays of one reply; COMMAND and CLUSTER SLOTS have the most
	maxReplyDepth    = 16       // of arrays within arrays; COMMAND has the deepest
	minReplyBytes    = 8 << 20  // of all strings of one reply; a page of a feed has the most, where no large tiles are stored
)

var errReply = errors.New("a reply that no Redis sends to what was asked")

// dial makes the connections of a client whose replies have at most so many bytes.
func dial(config *tls.Config, replyBytes int64) func(ctx context.Context, network, address string) (net.Conn, error) {
	plain := net.Dialer{Timeout: dialTimeout}
	connect := plain.DialContext
	if config != nil {
		connect = (&tls.Dialer{NetDialer: &plain, Config: config}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := connect(ctx, network, address)
		if err != nil {
			return nil, err //nolint:wrapcheck // go-redis does
		}
		bounded := &boundedConn{Conn: c, replies: replies{limit: replyBytes}}
		if raw, ok := c.(syscall.Conn); ok {
			return rawConn{bounded, raw}, nil
		}
		return bounded, nil
	}
}

// boundedConn is a connection that fails at a reply that is too large.
type boundedConn struct {
	net.Conn
	replies replies
}

// rawConn lets go-redis look whether the server has closed a connection.
type rawConn struct {
	*boundedConn
	syscall.Conn
}

func (c *boundedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if bad := c.replies.read(p[:n]); bad != nil {
		_ = c.Close() // it is of no use any more
		return 0, bad
	}
	return n, err //nolint:wrapcheck // io.EOF stays io.EOF
}

// replies follows the replies in a stream, of RESP 2, and of RESP 3, in which sentinels are asked.
// https://redis.io/docs/latest/develop/reference/protocol-spec/
type replies struct {
	limit int64 // bytes of one reply

	line     []byte // of a header that has not ended
	skip     int64  // bytes of a string that have not come, its end included
	open     []int  // elements that have not begun, of each array that has not ended
	elements int    // of the reply so far
	bytes    int64
}

func (r *replies) read(p []byte) error {
	for len(p) > 0 {
		if r.skip > 0 {
			n := min(r.skip, int64(len(p)))
			p, r.skip = p[n:], r.skip-n
			continue
		}
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			end = len(p) - 1
		}
		r.line = append(r.line, p[:end+1]...)
		whole := p[end] == '\n'
		p = p[end+1:]
		if len(r.line) > maxReplyLine {
			return fmt.Errorf("%w: a line of more than %d bytes", errReply, maxReplyLine)
		}
		if !whole {
			continue
		}
		if err := r.header(bytes.TrimSuffix(r.line, []byte("\r\n"))); err != nil {
			return err
		}
		r.line = r.line[:0]
	}
	return nil
}

// header reads what begins a reply, or an element of one.
func (r *replies) header(line []byte) error {
	for len(r.open) > 0 && r.open[len(r.open)-1] == 0 {
		r.open = r.open[:len(r.open)-1]
	}
	if len(r.open) == 0 {
		r.elements, r.bytes = 0, 0
	} else {
		r.open[len(r.open)-1]--
	}
	if len(line) == 0 {
		return fmt.Errorf("%w: an empty line", errReply)
	}
	switch line[0] {
	case '+', '-', ':', '_', ',', '#', '(':
		return nil
	case '$', '=', '!', '*', '~', '>', '%', '|':
	default:
		return fmt.Errorf("%w: of the type %q", errReply, line[0])
	}
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < -1 {
		return fmt.Errorf("%w: a length that is no number", errReply)
	}
	if n < 0 {
		return nil // there is none
	}
	switch line[0] {
	case '$', '=', '!':
		if int64(n) > r.limit-r.bytes {
			return fmt.Errorf("%w: more than %d bytes", errReply, r.limit)
		}
		r.bytes += int64(n)
		r.skip = int64(n) + 2
		return nil
	case '%':
		n = 2 * min(n, maxReplyElements)
	case '|': // attributes, and what they are of
		n = 2*min(n, maxReplyElements) + 1
	}
	if n > maxReplyElements-r.elements || len(r.open) == maxReplyDepth {
		return fmt.Errorf("%w: more than %d elements, or more than %d arrays within each other", errReply, maxReplyElements, maxReplyDepth)
	}
	r.elements += n
	r.open = append(r.open, n)
	return nil
}
