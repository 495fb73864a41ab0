package configs

import (
	"bytes"
	"reflect"

	"tilegate/internal/area"

	"go.yaml.in/yaml/v4"
)

// Document is a file that the configuration names, read together with it.
type Document struct {
	path string
	data []byte
}

// IsSet reports whether the configuration names a file.
func (d Document) IsSet() bool { return d.path != "" }

// Bytes returns a copy of the file's content, nil if there is no file.
func (d Document) Bytes() []byte { return bytes.Clone(d.data) }

// String returns the path as the configuration has it.
func (d Document) String() string { return d.path }

// maxDocument bounds the file of a Document, in bytes.
const maxDocument = 1 << 20

// file reads a path, and the file that is there.
func (d *decoder) file(n *yaml.Node, key string, into *Document) {
	d.scalar(n, key, func(path string) (string, error) {
		if path == "" {
			return "", nil
		}
		data, err := readBounded(resolvePath(d.dir, path), maxDocument)
		if err != nil {
			return "a relative path starts at the configuration's directory", err
		}
		*into = Document{path: path, data: data}
		return "", nil
	})
}

// Shape is a Document that holds an area in GeoJSON.
type Shape struct {
	Document
	Area *area.Area
}

// maxShape bounds the file of a Shape, in bytes.
const maxShape = area.MaxBytes

// shape reads a path, and the area that is there.
func (d *decoder) shape(n *yaml.Node, key string, into *Shape) {
	d.scalar(n, key, func(path string) (string, error) {
		if path == "" {
			return "", nil
		}
		data, err := readBounded(resolvePath(d.dir, path), maxShape)
		if err != nil {
			return "a relative path starts at the configuration's directory", err
		}
		parsed, err := area.Parse(data)
		if err != nil {
			return "write a Polygon or MultiPolygon in GeoJSON, in WGS 84", err
		}
		*into = Shape{Document: Document{path: path}, Area: parsed}
		return "", nil
	})
}

// names reads a list of names, or one name.
func (d *decoder) names(n *yaml.Node, key string, into *Names) {
	if n.Kind == yaml.SequenceNode {
		var list []string
		d.list(n, key, reflect.ValueOf(&list).Elem())
		*into = list
		return
	}
	d.scalar(n, key, func(text string) (string, error) {
		*into = Names{text}
		return "", nil
	})
}
