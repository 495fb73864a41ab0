package proxy

import (
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// accessLog writes one line for each request. The line is the costliest thing that a hit does besides
// writing the tile, so it is formatted by hand. A credential never gets into it: the path is masked, and
// the query is left out.
type accessLog struct {
	w      io.Writer
	text   bool // key=value instead of JSON
	latest atomic.Pointer[second]
}

// second is a second of time, formatted once: nearly all lines begin with the second of the line before.
type second struct {
	unix        int64
	clock, zone string
}

func (l *accessLog) second(t time.Time) *second {
	if s := l.latest.Load(); s != nil && s.unix == t.Unix() {
		return s
	}
	s := &second{t.Unix(), t.Format("2006-01-02T15:04:05"), t.Format("Z07:00")}
	l.latest.Store(s)
	return s
}

var lines = sync.Pool{New: func() any { return new([]byte) }}

// maxLogged bounds each text that a line takes from the request, in bytes.
const maxLogged = 512

func (l *accessLog) line(p *Proxy, x *exchange, r *http.Request, took time.Duration, aborted bool) {
	b := lines.Get().(*[]byte) //nolint:forcetypeassert // the pool holds nothing else
	e := lineEncoder{b: (*b)[:0], text: l.text}
	e.begin(l.second(x.start), x.start.Nanosecond(), x.loggedStatus() >= http.StatusInternalServerError)
	e.str("method", r.Method)
	e.str("path", maskPath(r.URL.Path))
	e.num("status", int64(x.loggedStatus()))
	e.num("bytes", x.Bytes())
	e.micros("duration_ms", took)
	if x.tileset != nil {
		e.str("tileset", x.tileset.ID)
	}
	if x.outcome != outcomeNone {
		e.str("cache", x.outcome.String())
	}
	if x.grant != nil {
		if x.grant.Subject != "" {
			e.str("subject", x.grant.Subject)
		}
		e.str("token_id", x.grant.ID)
	}
	e.addr("client", p.client(r))
	e.str("protocol", r.Proto)
	if x.requestID != "" {
		e.str("request_id", x.requestID)
	}
	if aborted {
		e.yes("aborted")
	}
	if x.err != nil {
		e.str("error", x.err.Error())
	}
	*b = e.end()
	// A log that cannot be written is no reason to fail a request that has been answered.
	_, _ = l.w.Write(*b)
	lines.Put(b)
}

// maxSegment is longer than what names a tile and shorter than any credential, in bytes.
const maxSegment = 40

// maskPath replaces what could be a credential in a path: the segment behind "t", and each long segment. A
// proxy that keeps its prefix, or a client that misspells, can put a token anywhere.
func maskPath(path string) string {
	if !strings.Contains(path, "/t/") && longestSegment(path) <= maxSegment {
		return path
	}
	segments := strings.Split(path, "/")
	before := ""
	for i, segment := range segments {
		if len(segment) > maxSegment || before == "t" {
			segments[i] = "-"
		}
		before = segment
	}
	return strings.Join(segments, "/")
}

func longestSegment(path string) int {
	longest := 0
	for {
		end := strings.IndexByte(path, '/')
		if end < 0 {
			return max(longest, len(path))
		}
		longest = max(longest, end)
		path = path[end+1:]
	}
}

// lineEncoder builds one line, as slog's handlers would format it.
type lineEncoder struct {
	b    []byte
	text bool
}

// begin writes the time, the level and the message. A request that tilegate or S3 failed is a warning.
func (e *lineEncoder) begin(s *second, nanoseconds int, failed bool) {
	before, after := `{"time":"`, `","level":"INFO","msg":"request"`
	switch {
	case e.text && failed:
		before, after = "time=", " level=WARN msg=request"
	case e.text:
		before, after = "time=", " level=INFO msg=request"
	case failed:
		after = `","level":"WARN","msg":"request"`
	}
	ms := nanoseconds / 1e6
	e.b = append(e.b, before...)
	e.b = append(e.b, s.clock...)
	e.b = append(e.b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
	e.b = append(e.b, s.zone...)
	e.b = append(e.b, after...)
}

func (e *lineEncoder) end() []byte {
	if !e.text {
		e.b = append(e.b, '}')
	}
	return append(e.b, '\n')
}

func (e *lineEncoder) name(name string) {
	if e.text {
		e.b = append(e.b, ' ')
		e.b = append(e.b, name...)
		e.b = append(e.b, '=')
		return
	}
	e.b = append(e.b, ',', '"')
	e.b = append(e.b, name...)
	e.b = append(e.b, '"', ':')
}

func (e *lineEncoder) addr(name string, a netip.Addr) {
	e.name(name)
	if !e.text {
		e.b = append(e.b, '"')
	}
	e.b = a.AppendTo(e.b)
	if !e.text {
		e.b = append(e.b, '"')
	}
}

func (e *lineEncoder) num(name string, n int64) {
	e.name(name)
	e.b = strconv.AppendInt(e.b, n, 10)
}

// yes writes a boolean that is true. One that is false is left out of the line.
func (e *lineEncoder) yes(name string) {
	e.name(name)
	e.b = append(e.b, "true"...)
}

// micros writes a duration in milliseconds, to the microsecond.
func (e *lineEncoder) micros(name string, d time.Duration) {
	e.name(name)
	us := d.Microseconds()
	e.b = strconv.AppendInt(e.b, us/1000, 10)
	e.b = append(e.b, '.', byte('0'+us/100%10), byte('0'+us/10%10), byte('0'+us%10))
}

// str writes a string as JSON does. Everything but printable ASCII is escaped, so that no request can
// forge a line, or a control sequence of a terminal.
func (e *lineEncoder) str(name, s string) {
	e.name(name)
	if len(s) > maxLogged {
		s = s[:maxLogged]
	}
	if e.text && plain(s) {
		e.b = append(e.b, s...)
		return
	}
	i := 0
	for i < len(s) && s[i] >= 0x20 && s[i] < 0x7f && s[i] != '"' && s[i] != '\\' {
		i++
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, s[:i]...) // usually all of it
	for i < len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			e.b = append(e.b, '\\', c)
			i++
		case c >= 0x20 && c < 0x7f:
			e.b = append(e.b, c)
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			e.escape(r)
			i += size
		}
	}
	e.b = append(e.b, '"')
}

func (e *lineEncoder) escape(r rune) {
	const digits = "0123456789abcdef"
	unit := func(u rune) {
		e.b = append(e.b, '\\', 'u', digits[u>>12&15], digits[u>>8&15], digits[u>>4&15], digits[u&15])
	}
	if r >= 0x10000 {
		r -= 0x10000
		unit(0xd800 + r>>10)
		unit(0xdc00 + r&0x3ff)
		return
	}
	unit(r)
}

func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\' {
			return false
		}
	}
	return s != ""
}
