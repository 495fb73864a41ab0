package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A process of good clients measures how long they wait for a tile. What else loads the server runs on the same core, and
// gives way to it by its priority: the server's own time is to be measured, and not that of the load.

// goodClients is how many clients a process of good clients is.
const goodClients = 64

// yielding is a process of this program that loads the server and gives way to the good clients.
func (l *lab) yielding(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", loadCore, "chrt", "--idle", "0", l.self}, args...)...) //nolint:gosec // our own arguments
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	return cmd
}

// good lets good clients load a server, with so many requests a second.
func (l *lab) good(ctx context.Context, url string, rate float64, length time.Duration) (b beside, err error) {
	cmd := exec.CommandContext(ctx, "taskset", "-c", loadCore, l.self, "good-process", url, l.token, length.String(), fmt.Sprint(rate)) //nolint:gosec // our own arguments
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return b, fmt.Errorf("good clients: %w", err)
	}
	_, err = fmt.Sscan(string(out), &b.hits, &b.p99)
	return b, err
}

// beside is what good clients got: tiles, and the time in milliseconds for which they waited for 99 % of them at most.
type beside struct{ hits, p99 float64 }

// loadGood is a process: good-process URL TOKEN DURATION RATE. Its clients ask for one tile at random moments, RATE times a second
// together. A request that comes late because the one before took long has waited since its own moment. It prints the
// number of tiles that came, and the 99th percentile of the waits in ms.
func loadGood(ctx context.Context, args []string) error {
	target, err := url.Parse(args[0])
	if err != nil {
		return err
	}
	length, err := time.ParseDuration(args[2])
	if err != nil {
		return err
	}
	rate, err := strconv.ParseFloat(args[3], 64)
	if err != nil {
		return err
	}
	request := []byte("GET " + target.RequestURI() + " HTTP/1.1\r\nHost: " + target.Host + "\r\nAuthorization: Bearer " + args[1] + "\r\n\r\n")
	pause := float64(time.Second) * goodClients / rate
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var mu sync.Mutex
	var waits []time.Duration
	var done sync.WaitGroup
	for range goodClients {
		done.Go(func() {
			c := goodClient{address: target.Host, request: request}
			defer c.close()
			_ = c.dial(ctx) // tried again with the first request
			for due := time.Now(); ; {
				due = due.Add(time.Duration(pause * rand.ExpFloat64())) //nolint:gosec // any moment will do
				begun := due
				if early := time.Until(due); early > 0 {
					if !wait(ctx, early) {
						return
					}
					begun = time.Now() // Go's timers are up to a millisecond late
				} else if ctx.Err() != nil {
					return
				}
				err := c.ask(ctx)
				waited := time.Since(begun)
				if err == nil || ctx.Err() != nil { // one that the end cuts off has waited for that long
					mu.Lock()
					waits = append(waits, waited)
					mu.Unlock()
				}
			}
		})
	}
	done.Wait()
	slices.Sort(waits)
	hits, p99 := len(waits), length
	if hits > 0 {
		p99 = waits[hits*99/100]
	}
	fmt.Println(strconv.Itoa(hits), strconv.FormatFloat(ms(p99), 'f', 2, 64))
	return nil
}

// goodClient is one connection that asks for a tile again and again. It takes far less time than net/http's client.
type goodClient struct {
	address string
	request []byte
	conn    net.Conn // nil: none
	in      *bufio.Reader
	stop    func() bool
}

func (c *goodClient) dial(ctx context.Context) (err error) {
	if c.conn, err = (&net.Dialer{}).DialContext(ctx, "tcp", c.address); err != nil {
		return err
	}
	conn := c.conn
	c.stop = context.AfterFunc(ctx, func() { _ = conn.Close() })
	c.in = bufio.NewReaderSize(conn, 32<<10)
	return nil
}

func (c *goodClient) close() {
	if c.conn != nil {
		c.stop()
		_ = c.conn.Close() // it holds nothing
		c.conn = nil
	}
}

// ask returns nil when the whole tile has come.
func (c *goodClient) ask(ctx context.Context) error {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return err
		}
	}
	err := c.exchange()
	if err != nil {
		c.close()
	}
	return err
}

func (c *goodClient) exchange() error {
	if err := c.conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	answer, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return err
	}
	n, err := io.Copy(io.Discard, answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || n != tileSize {
		return fmt.Errorf("%s, %d bytes", answer.Status, n)
	}
	if answer.Close {
		return io.EOF
	}
	return nil
}
