package proxy

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"tilegate/internal/tile"
)

const (
	// metadataPath names metadata.json beside a tileset's tiles, as a bundle's objects are named.
	metadataPath = "metadata.json"
	// maxMetadata bounds metadata.json, as it is stored and unpacked, in bytes.
	maxMetadata = 1 << 20
	// maxLayers bounds the layers that are taken from it.
	maxLayers = 256
	// layersWait is how long TileJSON waits for it. Without it, TileJSON has no layers.
	layersWait = 2 * time.Second
)

// VectorLayers returns the layers of a vector tileset as TileJSON has them: those that are configured, else those that
// metadata.json beside the tiles names. It returns nil where there are none, and for other tilesets.
func (p *Proxy) VectorLayers(ctx context.Context, id string) json.RawMessage {
	ts := p.tilesets[id]
	if ts == nil || ts.format == nil || !ts.format.Vector {
		return nil
	}
	if ts.VectorLayers != nil || !ts.Metadata {
		return ts.VectorLayers
	}
	ctx, cancel := context.WithTimeout(ctx, layersWait)
	defer cancel()
	t, _, err := p.opt.Cache.Get(ctx, tile.Key{Tileset: ts.ID, Version: ts.keyVersion, Path: metadataPath}, ts.Freshness, ts.fetchLayers)
	if err != nil {
		return nil // a tileset is served without as well
	}
	defer t.Close()
	layers, err := p.unpacked(ctx, t)
	if err != nil {
		return nil
	}
	return layers
}

// fetchLayers asks for metadata.json. The answer holds the layers alone. A document that names none, or is none, counts as
// missing.
func (ts *tileset) fetchLayers(ctx context.Context, key tile.Key, cond tile.Condition) (*tile.Object, error) {
	if cond.Offset > 0 {
		return nil, tile.ErrChanged // the layers are in memory, and do not break off
	}
	o, err := ts.Origin.Fetch(ctx, key, cond)
	if err != nil {
		return nil, err
	}
	defer o.Body.Close()
	layers, err := readLayers(o.Body)
	if err != nil {
		return nil, err
	}
	return &tile.Object{
		Body: io.NopCloser(bytes.NewReader(layers)), Size: int64(len(layers)), ETag: o.ETag, LastModified: o.LastModified, Header: http.Header{},
	}, nil
}

// readLayers reads vector_layers out of a metadata.json. tippecanoe and mb-util write the members of an MBTiles file's
// metadata, of which "json" is a JSON text that has them (https://github.com/mapbox/mbtiles-spec/blob/master/1.3/spec.md).
func readLayers(r io.Reader) (json.RawMessage, error) {
	body, err := readBounded(r)
	if err == nil && bytes.HasPrefix(body, []byte("\x1f\x8b")) {
		var unzipped *gzip.Reader
		if unzipped, err = gzip.NewReader(bytes.NewReader(body)); err == nil {
			body, err = readBounded(unzipped)
		}
	}
	if err != nil {
		return nil, err
	}
	var document struct {
		VectorLayers []json.RawMessage `json:"vector_layers"`
		JSON         string            `json:"json"`
	}
	if json.Unmarshal(body, &document) != nil || document.VectorLayers == nil && json.Unmarshal([]byte(document.JSON), &document) != nil {
		return nil, tile.ErrMissing
	}
	var layers []json.RawMessage
	for _, layer := range document.VectorLayers {
		var l struct {
			ID     string         `json:"id"`
			Fields map[string]any `json:"fields"`
		}
		if json.Unmarshal(layer, &l) == nil && l.ID != "" && l.Fields != nil && len(layers) < maxLayers {
			layers = append(layers, layer)
		}
	}
	if layers == nil {
		return nil, tile.ErrMissing
	}
	return json.Marshal(layers)
}

func readBounded(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxMetadata+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", tile.ErrUnreachable, err)
	}
	if len(body) > maxMetadata {
		return nil, tile.ErrMissing
	}
	return body, nil
}
