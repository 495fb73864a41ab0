//go:build unix

package shared_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tilegate/internal/shared"
)

// Who is, or stands in for, the server must not end an instance, or take its memory, by a reply that announces more than there is.
func TestRepliesThatAnnounceMoreThanThereIs(t *testing.T) {
	for name, reply := range map[string]string{
		"a string that no memory holds":  "*2\r\n$9223372036854775805\r\n",
		"a string larger than any":       "$500000000\r\n",
		"an array":                       "*4000000000\r\n",
		"arrays, each first in the last": strings.Repeat("*200000\r\n", 1000),
		"arrays within arrays":           strings.Repeat("*1\r\n", 1000),
		"many strings":                   "*100\r\n" + strings.Repeat("$1000000\r\n"+strings.Repeat("x", 1000000)+"\r\n", 10),
		"a line without end":             "+" + strings.Repeat("x", 1<<20),
		"a map":                          "%4000000000\r\n",
		"a length below none":            "$-2\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			address, ended := answering(t, reply)
			failed := make(chan struct{}, 1)
			begin(t, address, func(o *shared.Options) {
				o.OnFailure = func(string) {
					select {
					case failed <- struct{}{}:
					default:
					}
				}
			})
			for what, happened := range map[string]<-chan struct{}{"the connection is left open": ended, "no failure is told": failed} {
				select {
				case <-happened:
				case <-time.After(patience):
					t.Fatal(what)
				}
			}
		})
	}
}

// answering is a server that gives everything the same answer. ended has a value when a client has closed its connection after one.
func answering(t *testing.T, reply string) (address string, ended <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{}, 1)
	var running sync.WaitGroup
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				buffer := make([]byte, 4096)
				for answered := false; ; answered = true {
					if _, err := c.Read(buffer); err != nil {
						if answered {
							select {
							case closed <- struct{}{}:
							default:
							}
						}
						return
					}
					_, _ = io.WriteString(c, reply)
				}
			})
		}
	})
	return l.Addr().String(), closed
}
