package configs

import (
	"bytes"

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
