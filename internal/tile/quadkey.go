package tile

// AppendQuadkey appends the quadkey of a tile: a digit from 0 to 3 for each zoom, as Bing Maps has it; zoom 0 has none. That of a
// tile begins with those of the tiles that hold it.
func AppendQuadkey(b []byte, z uint8, x, y uint32) []byte {
	for bit := int(z) - 1; bit >= 0; bit-- {
		b = append(b, '0'+byte(x>>bit&1)+byte(y>>bit&1)<<1)
	}
	return b
}
