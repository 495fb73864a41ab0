package archive

import "context"

const (
	// maxDecoding bounds the decoders at work at once. Each takes up to 24 MiB for its window, which the cache does not count.
	maxDecoding = 4
	// A part that takes more than a largePart-th of the largest value while it is decoded is decoded alone.
	largePart = 4
)

// Decoders lets parts of archives be decoded in turn, so that many archives, or hostile ones, take no more memory at once
// than a few. All archives of a process share one.
type Decoders struct {
	all   chan struct{} // an element for each decoder at work
	large chan struct{} // an element for the one part that takes much of the cache
}

// NewDecoders makes Decoders.
func NewDecoders() *Decoders {
	return &Decoders{all: make(chan struct{}, maxDecoding), large: make(chan struct{}, 1)}
}

// enter waits for a turn, in the order of arrival.
func enter(ctx context.Context, turns chan struct{}) (leave func(), err error) {
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// decoded calls measure, reserves what that returns, and calls decode. No other part of this archive is decoded meanwhile, so
// that an archive with many parts that take long to decode keeps no other archive from its turn. Nobody keeps a decoder while
// waiting for room.
func (a *Archive) decoded(ctx context.Context, reserve func(int64) error, measure func() (need int64, err error), decode func() error) error {
	leave, err := enter(ctx, a.decoding)
	if err != nil {
		return err
	}
	defer leave()
	var need int64
	if err := a.withDecoder(ctx, func() (err error) { need, err = measure(); return err }); err != nil {
		return err
	}
	if need > a.o.Cache.LargestValue()/largePart {
		leave, err := enter(ctx, a.o.Decoders.large)
		if err != nil {
			return err
		}
		defer leave()
	}
	if err := reserve(need); err != nil {
		return err
	}
	return a.withDecoder(ctx, decode)
}

func (a *Archive) withDecoder(ctx context.Context, use func() error) error {
	leave, err := enter(ctx, a.o.Decoders.all)
	if err != nil {
		return err
	}
	defer leave()
	return use()
}
