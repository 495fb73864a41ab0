package pmtiles

// Found is what a directory says of a tile.
type Found uint8

// Lookup's answers.
const (
	Absent Found = iota // the archive has no such tile
	Leaf                // a leaf directory has to be read first; it is at the range
	Tile                // the tile's bytes are at the range
)

// Lookup looks a tile up in a directory and says which range of the archive comes next. Depth counts the directories:
// 1 for the root. The range lies within its section, hence within the object if ParseHeader knew its size.
func (h *Header) Lookup(d *Directory, id uint64, depth int) (Found, Range, error) {
	e, ok := d.Find(id)
	if !ok {
		return Absent, Range{}, nil
	}
	found, section, name := Tile, h.Tiles, "data"
	if e.Run == 0 {
		found, section, name = Leaf, h.Leaves, "leaf directory"
		if depth >= MaxDepth {
			return Absent, Range{}, bad("directory",
				"tile id %d: directory %d points to another leaf directory; at most %d are read", id, depth, MaxDepth)
		}
		if e.Length > MaxLeaf {
			err := tooLarge("directory", MaxLeaf, "tile id %d: its leaf directory has %d bytes", id, e.Length)
			err.Hint = "pmtiles cluster FILE.pmtiles writes smaller ones"
			return Absent, Range{}, err
		}
	}
	if e.Offset > section.Length-int64(e.Length) {
		return Absent, Range{}, bad("directory",
			"tile id %d: its %s has %d bytes at offset %d of a section of %d bytes", id, name, e.Length, e.Offset, section.Length)
	}
	return found, Range{section.Offset + e.Offset, int64(e.Length)}, nil
}
