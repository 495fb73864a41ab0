package area_test

import (
	"bytes"
	"strings"
	"testing"

	"tilegate/internal/area"
	"tilegate/internal/tile"
)

const triangle = `[[0,0],[10,0],[10,10],[0,0]]`

// accepted are documents of the same triangle.
var accepted = map[string]string{
	"a Polygon":                     `{"type":"Polygon","coordinates":[` + triangle + `]}`,
	"a MultiPolygon":                `{"type":"MultiPolygon","coordinates":[[` + triangle + `]]}`,
	"a Feature":                     `{"type":"Feature","id":1,"properties":null,"geometry":{"type":"Polygon","coordinates":[` + triangle + `]}}`,
	"a FeatureCollection":           `{"type":"FeatureCollection","features":[{"type":"Feature","geometry":{"type":"Polygon","coordinates":[` + triangle + `]},"properties":{"a":{"type":"Point"}}}]}`,
	"a GeometryCollection":          `{"type":"GeometryCollection","geometries":[{"type":"Polygon","coordinates":[` + triangle + `]}]}`,
	"a Feature of a collection":     `{"type":"Feature","properties":{},"geometry":{"type":"GeometryCollection","geometries":[{"type":"Polygon","coordinates":[` + triangle + `]}]}}`,
	"the type comes last":           `{"coordinates":[` + triangle + `],"bbox":[0,0,10,10],"type":"Polygon"}`,
	"an escaped name":               `{"t\u0079pe":"Pol\u0079gon","coordinates":[` + triangle + `]}`,
	"white space":                   " {\r\n\t\"type\" : \"Polygon\" , \"coordinates\" : [ [ [ 0 , 0 ] , [ 10 , 0 ] , [ 10 , 10 ] , [ 0 , 0 ] ] ] }\n",
	"heights":                       `{"type":"Polygon","coordinates":[[[0,0,5],[10,0,1e3],[10,10,-7],[0,0,6]]]}`,
	"other ways to write numbers":   `{"type":"Polygon","coordinates":[[[-0.0,0e5],[1e1,0],[100e-1,10.000],[0,-0]]]}`,
	"clockwise":                     `{"type":"Polygon","coordinates":[[[0,0],[10,10],[10,0],[0,0]]]}`,
	"positions twice":               `{"type":"Polygon","coordinates":[[[0,0],[0,0],[10,0],[10,0],[10,10],[0,0],[0,0]]]}`,
	"GDAL's reference system":       `{"type":"FeatureCollection","name":"x","crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:OGC:1.3:CRS84"}},"features":[{"type":"Feature","properties":{},"geometry":{"type":"Polygon","coordinates":[` + triangle + `]}}]}`,
	"a hole that is a line":         `{"type":"Polygon","coordinates":[` + triangle + `,[[5,1],[5,2],[5,3],[5,1]]]}`,
	"the same triangle twice":       `{"type":"MultiPolygon","coordinates":[[` + triangle + `],[` + triangle + `]]}`,
	"a second one beyond the map":   `{"type":"MultiPolygon","coordinates":[[` + triangle + `],[[[0,86],[10,86],[10,87],[0,86]]]]}`,
	"members that mean nothing":     `{"type":"Polygon","coordinates":[` + triangle + `],"properties":{"coordinates":[]},"type2":"Point"}`,
	"other text in other languages": `{"type":"Feature","properties":{"name":"Österreich 🏔 \ud83c\udfd4"},"geometry":{"type":"Polygon","coordinates":[` + triangle + `]}}`,
}

func TestParseAccepts(t *testing.T) {
	for name, geojson := range accepted {
		t.Run(name, func(t *testing.T) {
			a := parse(t, geojson)
			if got, want := a.Bounds(), (tile.Box{West: 0, South: 0, East: 10, North: 10}); got != want {
				t.Errorf("bounds: got %v, want %v", got, want)
			}
			for _, p := range []struct {
				lon, lat float64
				want     bool
			}{{8, 4, true}, {9.9, 9.5, true}, {4, 8, false}, {12, 4, false}, {5, 2, true}} {
				x, y := tile.At(12, p.lon, p.lat)
				if got := a.Meets(12, x, y); got != p.want {
					t.Errorf("%v: got %v", p, got)
				}
			}
		})
	}
}

var refused = map[string]struct{ geojson, want string }{
	"nothing":                      {``, "not JSON: unexpected end of JSON input, at byte 0"},
	"no JSON":                      {`{"type":"Polygon",}`, "not JSON: invalid character '}'"},
	"two documents":                {`{} {}`, "not JSON"},
	"a byte order mark":            {"\ufeff" + accepted["a Polygon"], "not JSON"},
	"no UTF-8":                     {"{\"type\":\"Polygon\",\"coordinates\":[" + triangle + "],\"a\":\"\xff\"}", "not UTF-8"},
	"an array":                     {`[]`, "the document is not a GeoJSON object"},
	"null":                         {`null`, "the document is not a GeoJSON object"},
	"no type":                      {`{}`, `the document is of type ""`},
	"a type that is a number":      {`{"type":7}`, `the document is of type ""`},
	"a Point":                      {`{"type":"Point","coordinates":[0,0]}`, `the document is of type "Point": want Polygon`},
	"TopoJSON":                     {`{"type":"Topology","objects":{},"arcs":[]}`, `of type "Topology"`},
	"a type in lower case":         {`{"type":"polygon","coordinates":[` + triangle + `]}`, `of type "polygon"`},
	"a line among polygons":        {`{"type":"FeatureCollection","features":[` + accepted["a Feature"] + `,{"type":"Feature","properties":{},"geometry":{"type":"LineString","coordinates":[[0,0],[1,1]]}}]}`, `.features[1].geometry is of type "LineString"`},
	"a geometry among features":    {`{"type":"FeatureCollection","features":[7]}`, ".features[0] is not a GeoJSON object"},
	"a Feature without a place":    {`{"type":"Feature","properties":{},"geometry":null}`, "the document has no geometry"},
	"a Feature without geometry":   {`{"type":"Feature","properties":{}}`, "the document is a Feature without its content"},
	"no features":                  {`{"type":"FeatureCollection","features":[]}`, ".features is empty"},
	"features that are no array":   {`{"type":"FeatureCollection","features":{}}`, ".features is not an array"},
	"no geometries":                {`{"type":"GeometryCollection","geometries":[]}`, ".geometries is empty"},
	"no polygons":                  {`{"type":"MultiPolygon","coordinates":[]}`, ".coordinates is empty"},
	"no rings":                     {`{"type":"MultiPolygon","coordinates":[[]]}`, ".coordinates[0] is empty"},
	"no positions":                 {`{"type":"Polygon","coordinates":[[]]}`, "ring .coordinates[0] is empty"},
	"coordinates of a Multi":       {`{"type":"Polygon","coordinates":[[` + triangle + `]]}`, "ring .coordinates[0]: position 0 is not an array of two or three numbers"},
	"coordinates of no Multi":      {`{"type":"MultiPolygon","coordinates":[` + triangle + `]}`, "ring .coordinates[0][0]: position 0 is not"},
	"members of two types":         {`{"type":"Polygon","coordinates":[` + triangle + `],"geometry":{"type":"Polygon","coordinates":[` + triangle + `]}}`, "is a Polygon and has a member of another type"},
	"a Feature with coordinates":   {`{"type":"Feature","coordinates":[` + triangle + `],"geometry":{"type":"Polygon","coordinates":[` + triangle + `]}}`, "is a Feature and has a member of another type"},
	"coordinates twice":            {`{"type":"Polygon","coordinates":[` + triangle + `],"coordinates":[[[-180,-90],[0,-90],[180,-90],[180,90],[-180,-90]]]}`, `has the member "coordinates" twice`},
	"coordinates twice, escaped":   {`{"type":"Polygon","coordinates":[` + triangle + `],"coordin\u0061tes":[` + triangle + `]}`, `has the member "coordinates" twice`},
	"a property twice":             {`{"type":"Feature","properties":{"a":[{"b":1,"b":2}]},"geometry":{"type":"Polygon","coordinates":[` + triangle + `]}}`, `has the member "b" twice`},
	"deep":                         {`{"type":"Feature","properties":` + strings.Repeat("[", 20) + strings.Repeat("]", 20) + `}`, "nested deeper than 16"},
	"very deep":                    {strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000), "exceeded max depth"},
	"three positions":              {`{"type":"Polygon","coordinates":[[[0,0],[1,1],[0,0]]]}`, "ring .coordinates[0] has 3 positions: a ring has at least four"},
	"not closed":                   {`{"type":"Polygon","coordinates":[` + triangle + `,[[5,1],[6,1],[6,2],[5,2]]]}`, "ring .coordinates[1] is not closed: position 3, its last, is not equal to position 0"},
	"one number":                   {`{"type":"Polygon","coordinates":[[[0,0],[1],[1,1],[0,0]]]}`, "position 1 is not an array of two or three numbers"},
	"four numbers":                 {`{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1,1,1],[0,0]]]}`, "position 2 is not an array of two or three numbers"},
	"a number that is text":        {`{"type":"Polygon","coordinates":[[[0,0],["1",0],[1,1],[0,0]]]}`, "position 1 is not an array of two or three numbers"},
	"a number that is null":        {`{"type":"Polygon","coordinates":[[[0,0],[1,null],[1,1],[0,0]]]}`, "position 1 is not an array of two or three numbers"},
	"infinite":                     {`{"type":"Polygon","coordinates":[[[0,0],[1e999,0],[1,1],[0,0]]]}`, "position 1 has a number that is out of range: 1e999"},
	"an infinite height":           {`{"type":"Polygon","coordinates":[[[0,0],[1,0,-1e999],[1,1],[0,0]]]}`, "position 1 has a number that is out of range: -1e999"},
	"too far east":                 {`{"type":"Polygon","coordinates":[[[170,0],[190,0],[190,10],[170,0]]]}`, "ring .coordinates[0]: position 1 is not [longitude, latitude] in degrees: [190, 0]"},
	"too far north":                {`{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,90.0001],[0,0]]]}`, "position 2 is not [longitude, latitude] in degrees"},
	"metres":                       {`{"type":"Polygon","coordinates":[[[1224514,6106854],[1224515,6106854],[1224515,6106855],[1224514,6106854]]]}`, "position 0 is not [longitude, latitude] in degrees"},
	"across the antimeridian":      {`{"type":"Polygon","coordinates":[[[170,-10],[-170,-10],[-170,10],[170,10],[170,-10]]]}`, "ring .coordinates[0]: position 1 is 340° of longitude away from the one before it: split a polygon that crosses the antimeridian there (RFC 7946 section 3.1.9)"},
	"an edge over more than 180°":  {`{"type":"Polygon","coordinates":[[[-100,0],[80.5,0],[0,10],[-100,0]]]}`, "position 1 is 180.5° of longitude"},
	"another reference system":     {`{"type":"Polygon","crs":{"type":"name","properties":{"name":"urn:ogc:def:crs:EPSG::25832"}},"coordinates":[` + triangle + `]}`, "another coordinate reference system (crs) than WGS 84"},
	"no reference system":          {`{"type":"Polygon","crs":null,"coordinates":[` + triangle + `]}`, "another coordinate reference system (crs) than WGS 84"},
	"a linked reference system":    {`{"type":"Polygon","crs":{"type":"link","properties":{"href":"http://example.com"}},"coordinates":[` + triangle + `]}`, "another coordinate reference system (crs) than WGS 84"},
	"a line":                       {`{"type":"Polygon","coordinates":[[[0,0],[1,1],[2,2],[0,0]]]}`, "no area on the map"},
	"a point":                      {`{"type":"Polygon","coordinates":[[[5,5],[5,5],[5,5],[5,5]]]}`, "no area on the map"},
	"back the same way":            {`{"type":"Polygon","coordinates":[[[0,0],[1,1],[2,0],[1,1],[0,0]]]}`, "no area on the map"},
	"a tenth of a millimetre wide": {`{"type":"Polygon","coordinates":[[[5,5],[5.0000000005,5],[5.0000000005,6],[5,6],[5,5]]]}`, "no area on the map"},
	"beyond the map":               {`{"type":"Polygon","coordinates":[[[0,86],[10,86],[10,87],[0,86]]]}`, "no area on the map"},
	"a hole that is all of it":     {`{"type":"Polygon","coordinates":[` + triangle + `,` + triangle + `]}`, "no area on the map"},
	"deep in a collection":         {`{"type":"FeatureCollection","features":[` + accepted["a Feature"] + `,{"type":"Feature","properties":{},"geometry":{"type":"GeometryCollection","geometries":[` + accepted["a Polygon"] + `,{"type":"MultiPolygon","coordinates":[[` + triangle + `],[` + triangle + `,[[1,2],[3,4,"x"],[1,2]]]]}]}}]}`, "ring .features[1].geometry.geometries[1].coordinates[1][1]: position 1 is not an array"},
}

func TestParseRefuses(t *testing.T) {
	for name, tt := range refused {
		t.Run(name, func(t *testing.T) {
			a, err := area.Parse([]byte(tt.geojson))
			if err == nil || a != nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	large := append([]byte(accepted["a Polygon"]), bytes.Repeat([]byte(" "), area.MaxBytes)...)
	if _, err := area.Parse(large[:area.MaxBytes]); err != nil {
		t.Errorf("%d bytes: %v", area.MaxBytes, err)
	}
	if _, err := area.Parse(large[:area.MaxBytes+1]); err == nil || err.Error() != "the document is longer than 8 MiB" {
		t.Errorf("%d bytes: got %v", area.MaxBytes+1, err)
	}
}

// FuzzParse: no document makes Parse panic, and what it returns holds together.
func FuzzParse(f *testing.F) {
	for _, geojson := range accepted {
		f.Add([]byte(geojson))
	}
	for _, tt := range refused {
		if len(tt.geojson) < 1000 {
			f.Add([]byte(tt.geojson))
		}
	}
	f.Fuzz(func(t *testing.T, geojson []byte) {
		a, err := area.Parse(geojson)
		if err != nil {
			if a != nil || len(err.Error()) > 1000 {
				t.Fatalf("got %v, %v", a, err)
			}
			return
		}
		b := a.Bounds()
		if b.Validate() != nil || a.Size() > 40<<20 || !a.Meets(0, 0, 0) {
			t.Fatalf("bounds %v, size %d", b, a.Size())
		}
		// From the world to the map's smallest tiles: each tile that is met has such a part.
		boxes := tile.NewArea(&b)
		x, y := uint32(0), uint32(0)
	zoom:
		for z := uint8(1); z <= tile.MaxZoom; z++ {
			for part := range uint32(4) {
				px, py := 2*x+part&1, 2*y+part>>1
				if a.Meets(z, px, py) {
					if !boxes.Meets(z, px, py) {
						t.Fatalf("%d/%d/%d is met beyond %v", z, px, py, b)
					}
					x, y = px, py
					continue zoom
				}
			}
			break // what the tile shares with it is within the margins of the tile's parts
		}
	})
}
