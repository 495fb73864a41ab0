package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"tilegate/internal/fakeaws"
)

// fillWithCity puts 3D Tiles into the bucket: a tileset whose content is another tileset, which has a block as glTF and a
// tower as a batched model, the format of 3D Tiles 1.0.
func fillWithCity(t *testing.T, bucket *fakeaws.Server) {
	t.Helper()
	const box = `"boundingVolume":{"box":[0,0,100,200,0,0,0,200,0,0,0,200]}`
	transform, err := json.Marshal(eastNorthUp(8.2, 47.1))
	if err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string][]byte{
		"tileset.json": fmt.Appendf(nil, `{"asset":{"version":"1.1"},"geometricError":2000,"root":{"transform":%s,%s,"geometricError":1000,"refine":"ADD",`+
			`"content":{"uri":"district/tileset.json"}}}`, transform, box),
		"district/tileset.json": fmt.Appendf(nil, `{"asset":{"version":"1.1"},"geometricError":1000,"root":{%[1]s,"geometricError":500,"refine":"ADD",`+
			`"content":{"uri":"block.glb"},"children":[{%[1]s,"geometricError":0,"content":{"uri":"tower.b3dm"}}]}}`, box),
		"district/block.glb":  boxGLB(80, 40, [3]float64{0.8, 0.1, 0.1}),
		"district/tower.b3dm": b3dm(boxGLB(20, 180, [3]float64{0.1, 0.1, 0.8})),
	} {
		bucket.Put("tiles", "city/"+name, fakeaws.Object{Body: body})
	}
}

// eastNorthUp is the transform of a place on the ellipsoid: its columns are east, north, up and the place itself.
func eastNorthUp(lon, lat float64) []float64 {
	sinLon, cosLon := math.Sincos(lon * math.Pi / 180)
	sinLat, cosLat := math.Sincos(lat * math.Pi / 180)
	x, y, z := onEllipsoid(lon, lat, 0)
	return []float64{-sinLon, cosLon, 0, 0, -sinLat * cosLon, -sinLat * sinLon, cosLat, 0, cosLat * cosLon, cosLat * sinLon, sinLat, 0, x, y, z, 1}
}

// onEllipsoid is a place in earth-centred coordinates (WGS 84).
func onEllipsoid(lon, lat, height float64) (x, y, z float64) {
	const a, e2 = 6378137.0, 6.69437999014e-3
	sinLon, cosLon := math.Sincos(lon * math.Pi / 180)
	sinLat, cosLat := math.Sincos(lat * math.Pi / 180)
	n := a / math.Sqrt(1-e2*sinLat*sinLat)
	return (n + height) * cosLat * cosLon, (n + height) * cosLat * sinLon, (n*(1-e2) + height) * sinLat
}

// boxGLB is a box on the ground as binary glTF 2.0: half as wide as half says each way, in metres.
func boxGLB(half, height float32, colour [3]float64) []byte {
	var bin []byte
	for i := range 8 {
		corner := [3]float32{-half, 0, -half} // y is up
		for axis := range 3 {
			if i>>axis&1 == 1 {
				corner[axis] = [3]float32{half, height, half}[axis]
			}
		}
		bin = appendFloats(bin, corner[:]...)
	}
	indices := []uint16{0, 2, 1, 1, 2, 3, 4, 5, 6, 5, 7, 6, 0, 1, 4, 1, 5, 4, 2, 6, 3, 3, 6, 7, 0, 4, 2, 2, 4, 6, 1, 3, 5, 3, 7, 5}
	positions := len(bin)
	for _, i := range indices {
		bin = binary.LittleEndian.AppendUint16(bin, i)
	}
	text := fmt.Appendf(nil, `{"asset":{"version":"2.0"},"scene":0,"scenes":[{"nodes":[0]}],"nodes":[{"mesh":0}],`+
		`"meshes":[{"primitives":[{"attributes":{"POSITION":0},"indices":1,"material":0}]}],"extensionsUsed":["KHR_materials_unlit"],`+
		`"materials":[{"pbrMetallicRoughness":{"baseColorFactor":[%v,%v,%v,1]},"extensions":{"KHR_materials_unlit":{}}}],`+
		`"accessors":[{"bufferView":0,"componentType":5126,"count":8,"type":"VEC3","min":[%[4]v,0,%[4]v],"max":[%[5]v,%[6]v,%[5]v]},`+
		`{"bufferView":1,"componentType":5123,"count":%[7]d,"type":"SCALAR"}],`+
		`"bufferViews":[{"buffer":0,"byteLength":%[8]d,"target":34962},{"buffer":0,"byteOffset":%[8]d,"byteLength":%[9]d,"target":34963}],"buffers":[{"byteLength":%[10]d}]}`,
		colour[0], colour[1], colour[2], -half, half, height, len(indices), positions, len(bin)-positions, len(bin))
	text, bin = pad(text, 0, ' '), pad(bin, 0, 0)
	file := []byte("glTF")
	for _, n := range []int{2, 12 + 8 + len(text) + 8 + len(bin)} {
		file = binary.LittleEndian.AppendUint32(file, uint32(n))
	}
	file = append(binary.LittleEndian.AppendUint32(file, uint32(len(text))), "JSON"...)
	file = append(file, text...)
	file = append(binary.LittleEndian.AppendUint32(file, uint32(len(bin))), "BIN\x00"...)
	return append(file, bin...)
}

// b3dm wraps a model as a batch of no features.
func b3dm(model []byte) []byte {
	const header = 28
	features := pad([]byte(`{"BATCH_LENGTH":0}`), header, ' ')
	model = pad(model, 0, 0)
	file := []byte("b3dm")
	for _, n := range []int{1, header + len(features) + len(model), len(features), 0, 0, 0} {
		file = binary.LittleEndian.AppendUint32(file, uint32(n))
	}
	return append(append(file, features...), model...)
}

// pad fills up to the next 8 bytes, counted from what comes before.
func pad(b []byte, before int, with byte) []byte {
	for (before+len(b))%8 != 0 {
		b = append(b, with)
	}
	return b
}

func appendFloats(b []byte, values ...float32) []byte {
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// fillWithTerrain puts quantized-mesh terrain into the bucket: the two tiles of level 0, gzipped without a word of it, as
// terrain tools store them, and a level 1 that is announced and missing. It rises from 0 m in the west of each tile to
// 6000 m in its east.
func fillWithTerrain(t *testing.T, bucket *fakeaws.Server) {
	t.Helper()
	bucket.Put("tiles", "terrain/layer.json", fakeaws.Object{Body: []byte(`{"tilejson":"2.1.0","format":"quantized-mesh-1.0","version":"1.0.0","scheme":"tms",` +
		`"projection":"EPSG:4326","bounds":[-180,-90,180,90],"tiles":["{z}/{x}/{y}.terrain?v={version}"],` +
		`"available":[[{"startX":0,"startY":0,"endX":1,"endY":0}],[{"startX":0,"startY":0,"endX":3,"endY":1}]]}`)})
	for x := range 2 {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		if _, err := w.Write(quantizedMesh(float64(x-1) * 180)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		bucket.Put("tiles", fmt.Sprintf("terrain/0/%d/0.terrain", x), fakeaws.Object{Body: b.Bytes()})
	}
}

// quantizedMesh is a tile of level 0 (quantized-mesh 1.0), a grid of triangles.
func quantizedMesh(west float64) []byte {
	const side, highest, most = 17, 6000, 32767
	x, y, z := onEllipsoid(west+90, 0, 0)
	doubles := func(b []byte, values ...float64) []byte {
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
		}
		return b
	}
	b := doubles(nil, x, y, z)
	b = appendFloats(b, 0, highest)
	b = doubles(b, 0, 0, 0, 6.4e6) // the sphere around it
	b = doubles(b, 0, y, 0)        // the point whose sight tells that some of it is in sight: far out
	b = binary.LittleEndian.AppendUint32(b, side*side)
	column := func(i int) int { return i % side * most / (side - 1) }
	row := func(i int) int { return i / side * most / (side - 1) }
	for _, value := range []func(i int) int{column, row, column} { // the height is the column's
		before := 0
		for i := range side * side {
			n := value(i)
			b = binary.LittleEndian.AppendUint16(b, uint16((n-before)<<1^(n-before)>>31)) // zigzag
			before = n
		}
	}
	b = binary.LittleEndian.AppendUint32(b, 2*(side-1)*(side-1))
	next := 0
	for r := range side - 1 {
		for c := range side - 1 {
			at := r*side + c
			for _, i := range []int{at, at + 1, at + side, at + side, at + 1, at + side + 1} {
				b = binary.LittleEndian.AppendUint16(b, uint16(next-i)) // counted down from the highest so far
				if i == next {
					next++
				}
			}
		}
	}
	for _, edge := range [][2]int{{0, side}, {0, 1}, {side - 1, side}, {side * (side - 1), 1}} { // west, south, east, north: first, step
		b = binary.LittleEndian.AppendUint32(b, side)
		for i := range side {
			b = binary.LittleEndian.AppendUint16(b, uint16(edge[0]+i*edge[1]))
		}
	}
	return b
}
