package proxy

import (
	"context"
	"errors"
	"strings"

	"tilegate/internal/tile"
)

// Examine returns why an object cannot be served as a tile of a tileset, nil where it can. It closes the object.
func (p *Proxy) Examine(ctx context.Context, tileset string, o *tile.Object) error {
	if strings.HasPrefix(tileset, tile.BundlePrefix) {
		return o.Body.Close() // any object will do
	}
	ts := p.tilesets[tileset]
	if ts == nil {
		_ = o.Body.Close()
		return errors.New("no such tileset")
	}
	if ts.archived != nil {
		_ = o.Body.Close()
		return errors.New("an archive is examined as a whole")
	}
	examining := *ts
	examining.Origin = given{o}
	checked, err := examining.fetch(ctx, tile.Key{Tileset: tileset}, tile.Condition{})
	if err != nil {
		return err
	}
	return checked.Body.Close()
}

// given is an Origin that has one object.
type given struct{ object *tile.Object }

func (g given) Fetch(context.Context, tile.Key, tile.Condition) (*tile.Object, error) {
	return g.object, nil
}
