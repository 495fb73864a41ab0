package proxy

import (
	"errors"
	"sync"
)

// places bounds how many requests do something at the same time: of all callers, and of each one. A caller is a key.
type places[K comparable] struct {
	all, each int // how many there are; the zero value has none

	mu      sync.Mutex
	taken   int
	takenBy map[K]int
}

var (
	errNoPlace       = errors.New("too many requests of all callers do this already")
	errNoPlaceOfMine = errors.New("too many requests of this caller do this already")
)

// take takes a place until leave is called. The error is errNoPlaceOfMine or errNoPlace.
func (p *places[K]) take(caller K) (leave func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.takenBy[caller] >= p.each:
		return nil, errNoPlaceOfMine
	case p.taken >= p.all:
		return nil, errNoPlace
	case p.takenBy == nil:
		p.takenBy = map[K]int{}
	}
	p.taken++
	p.takenBy[caller]++
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.taken--
		if p.takenBy[caller]--; p.takenBy[caller] == 0 {
			delete(p.takenBy, caller)
		}
	}, nil
}
