package pmtiles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unsafe"
)

// MaxMetadata bounds metadata, both as stored and decompressed, in bytes. Archives with statistics of every attribute
// have megabytes of it.
const MaxMetadata = 16 << 20

// maxTileSize is the largest tile that metadata may announce, in pixels a side.
const maxTileSize = 1 << 14

// Metadata is the part of an archive's metadata that TileJSON uses.
type Metadata struct {
	Name, Description, Attribution, Version string

	Type         string          // overlay or baselayer
	Encoding     string          // of heights in pixels: terrarium or mapbox
	VectorLayers json.RawMessage // an array; nil where there is none
	TileSize     int             // pixels a side; 0 if it is not stated
}

// Size is what the metadata takes in memory, in bytes.
func (m *Metadata) Size() int64 {
	texts := len(m.Name) + len(m.Description) + len(m.Attribution) + len(m.Version) + len(m.Type) + len(m.Encoding)
	return int64(unsafe.Sizeof(*m)) + int64(texts) + int64(cap(m.VectorLayers))
}

// MetadataRange is where the metadata is, empty if there is none. More than MaxMetadata is an error.
func (h *Header) MetadataRange() (Range, error) {
	if h.Metadata.Length > MaxMetadata {
		return Range{}, tooLarge("metadata", MaxMetadata, "it has %d bytes", h.Metadata.Length)
	}
	return h.Metadata, nil
}

// DecodeMetadata decodes metadata, which is a JSON object. No bytes at all are an empty one. A field that is null is
// absent; one of another type than the format's is an error.
func DecodeMetadata(b []byte, c Compression) (*Metadata, error) {
	if len(b) == 0 {
		return &Metadata{}, nil
	}
	plain, err := decompress("metadata", b, c, MaxMetadata)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimLeft(plain, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, bad("metadata", "it is not a JSON object")
	}
	var fields struct {
		Name         string          `json:"name"`
		Description  string          `json:"description"`
		Attribution  string          `json:"attribution"`
		Version      string          `json:"version"`
		Type         string          `json:"type"`
		Encoding     string          `json:"encoding"`
		VectorLayers json.RawMessage `json:"vector_layers"`
		TileSize     tileSize        `json:"tileSize"`
	}
	if err := json.Unmarshal(plain, &fields); err != nil {
		return nil, badJSON(err)
	}
	if string(fields.VectorLayers) == "null" {
		fields.VectorLayers = nil
	}
	if fields.VectorLayers != nil && fields.VectorLayers[0] != '[' {
		return nil, bad("metadata", "vector_layers is not an array")
	}
	return &Metadata{
		Name: fields.Name, Description: fields.Description, Attribution: fields.Attribution, Version: fields.Version,
		Type: fields.Type, Encoding: fields.Encoding, TileSize: int(fields.TileSize),
		VectorLayers: bytes.Clone(fields.VectorLayers),
	}, nil
}

// MeasureMetadata returns how many bytes DecodeMetadata will decompress, and keeps none of them. More than MaxMetadata is
// ErrTooLarge.
func MeasureMetadata(b []byte, c Compression) (unpacked int64, err error) {
	if len(b) == 0 {
		return 0, nil
	}
	var g gauge
	err = measure("metadata", b, c, MaxMetadata, &g)
	return g.n, err
}

// tileSize is a number, or one in a string: what is converted from MBTiles has nothing but strings.
type tileSize int

var errTileSize = fmt.Errorf("tileSize is not a number from 1 to %d", maxTileSize)

func (s *tileSize) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	n, err := strconv.ParseUint(string(bytes.Trim(b, `"`)), 10, 32)
	if err != nil || n < 1 || n > maxTileSize {
		return errTileSize
	}
	*s = tileSize(n)
	return nil
}

// badJSON describes the fault without quoting the input, which may be megabytes.
func badJSON(err error) error {
	var (
		syntax *json.SyntaxError
		typed  *json.UnmarshalTypeError
	)
	switch {
	case errors.As(err, &syntax):
		return bad("metadata", "it is not valid JSON, at byte %d", syntax.Offset)
	case errors.As(err, &typed):
		return bad("metadata", "%s has the wrong type", typed.Field)
	case errors.Is(err, errTileSize):
		return bad("metadata", "%v", errTileSize)
	default:
		return &FormatError{Part: "metadata", Problem: "it is not valid JSON", Err: err}
	}
}
