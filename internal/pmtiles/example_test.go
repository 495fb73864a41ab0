package pmtiles_test

import (
	"bytes"
	"fmt"
	"io"
	"log"

	"tilegate/internal/pmtiles"
)

// An archive is written, and a tile of it is found by reading ranges, as they would be read from a bucket.
func Example() {
	var object bytes.Buffer
	tiles := func(yield func(uint64, []byte) bool) {
		for id := range uint64(85) { // zooms 0 to 3
			if !yield(id, fmt.Appendf(nil, "tile %d", id)) {
				return
			}
		}
	}
	options := pmtiles.WriteOptions{TileType: pmtiles.PNG, TileCompression: pmtiles.None, LeafEntries: 20}
	if err := pmtiles.Write(&object, options, tiles); err != nil {
		log.Fatal(err)
	}
	read := func(r pmtiles.Range) []byte { return object.Bytes()[r.Offset:r.End()] }

	first := read(pmtiles.Range{Length: min(pmtiles.FirstRead, int64(object.Len()))})
	header, err := pmtiles.ParseHeader(first, int64(object.Len()))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(header.TileType, header.MinZoom, header.MaxZoom)

	const maxDirectory = 1 << 20
	directory, err := pmtiles.DecodeDirectory(first[header.Root.Offset:header.Root.End()], header.InternalCompression, maxDirectory)
	id, _ := pmtiles.TileID(3, 5, 2)
	for depth := 1; err == nil; depth++ {
		found, next, lookupErr := header.Lookup(directory, id, depth)
		switch {
		case lookupErr != nil:
			log.Fatal(lookupErr)
		case found == pmtiles.Absent:
			fmt.Println("no such tile")
			return
		case found == pmtiles.Tile:
			tile, err := io.ReadAll(pmtiles.NewReader(bytes.NewReader(read(next)), header.TileCompression, pmtiles.MaxTile))
			fmt.Printf("%s, from directory %d, %v\n", tile, depth, err)
			return
		}
		directory, err = pmtiles.DecodeDirectory(read(next), header.InternalCompression, maxDirectory)
	}
	log.Fatal(err)
	// Output:
	// png 0 3
	// tile 76, from directory 2, <nil>
}
