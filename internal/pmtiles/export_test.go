package pmtiles

// Encode is the header as it is written.
func (h *Header) Encode() []byte { return h.encode() }

// Entries are a directory's, in order.
func (d *Directory) Entries() []Entry { return d.entries }

// EncodeDirectory is a directory before it is compressed.
func EncodeDirectory(entries []Entry) []byte { return appendDirectory(nil, entries) }
