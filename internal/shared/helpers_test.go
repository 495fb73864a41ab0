//go:build unix

package shared_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"tilegate/internal/shared"
)

var (
	signingKey = bytes.Repeat([]byte{7}, 32)
	otherKey   = bytes.Repeat([]byte{8}, 32)
)

// instance is a Client whose only feed is a set of words.
type instance struct {
	*shared.Client
	log  *lockedBuffer
	stop func()

	mu      sync.Mutex
	words   []string
	changed chan struct{} // closed and made again whenever words change
}

// begin starts an instance; change adapts its options.
func begin(t *testing.T, address string, change func(*shared.Options), words ...string) *instance {
	t.Helper()
	i := &instance{words: words, changed: make(chan struct{}), log: &lockedBuffer{}}
	o := shared.Options{
		Addresses: []string{address}, Prefix: "tilegate:", SigningKeys: [][]byte{signingKey},
		Feeds:  []shared.Feed{{Name: "words", Apply: i.apply, Known: i.known}},
		Logger: slog.New(slog.NewTextHandler(i.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	var err error
	if i.Client, err = shared.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		i.Run(ctx)
		close(ended)
	}()
	i.stop = func() {
		cancel()
		<-ended
	}
	t.Cleanup(i.stop)
	return i
}

func (i *instance) apply(record []byte) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch word := string(record); {
	case word == "unreadable":
		return true, errors.New("no word")
	case !slices.Contains(i.words, word):
		i.words = append(i.words, word)
		close(i.changed)
		i.changed = make(chan struct{})
	}
	return true, nil
}

func (i *instance) known() [][]byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	var all [][]byte
	for _, word := range i.words {
		all = append(all, []byte(word))
	}
	return all
}

// learn makes a word known here and tells the others, as a revocation does.
func (i *instance) learn(word string) {
	_, _ = i.apply([]byte(word))
	i.Tell("words", []byte(word))
}

func (i *instance) knows(word string) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.words, word)
}

const patience = 30 * time.Second // for a loaded machine; what is waited for takes less than a second

// waitFor waits until a word has come in.
func (i *instance) waitFor(t *testing.T, word string) {
	t.Helper()
	deadline := time.After(patience)
	for {
		i.mu.Lock()
		changed, ok := i.changed, slices.Contains(i.words, word)
		i.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%q has not come in; the log:\n%s", word, i.log)
		}
	}
}

// until waits for a state that nobody announces.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(patience)
	for !reached() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

func (i *instance) ready() bool { return i.NotReady() == nil }

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
