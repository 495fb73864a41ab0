package area

import (
	"fmt"
	"math"
	"strconv"
)

const (
	// MaxBytes is the size of the largest document that Parse reads.
	MaxBytes = 8 << 20

	maxPositions = 1 << 18
)

// Parse makes an Area of a GeoJSON document (RFC 7946): a Polygon, a MultiPolygon, or a Feature, a
// FeatureCollection or a GeometryCollection of nothing else; of several polygons, their union.
// See the package's comment for what is valid. Errors name a ring as jq does, and count positions from 0.
func Parse(geojson []byte) (*Area, error) {
	if len(geojson) > MaxBytes {
		return nil, fmt.Errorf("the document is longer than %d MiB", MaxBytes>>20)
	}
	document, err := strictJSON(geojson)
	if err != nil {
		return nil, err
	}
	var p parser
	if err := p.object("", document); err != nil {
		return nil, err
	}
	return build(p.positions, p.source, p.rings)
}

type parser struct {
	positions []point
	source    []uint32 // as in builder
	rings     []ring
	count     int // of all positions in the document
	polygons  int // so far
}

// object reads a GeoJSON object; path is how jq names it.
func (p *parser) object(path, text string) error {
	at := path
	if at == "" {
		at = "the document"
	}
	if text[0] != '{' {
		return fmt.Errorf("%s is not a GeoJSON object", at)
	}
	var o struct{ kind, crs, coordinates, geometry, geometries, features string }
	for name, value := range members(text) {
		switch name {
		case "type":
			o.kind = value
		case "crs":
			o.crs = value
		case "coordinates":
			o.coordinates = value
		case "geometry":
			o.geometry = value
		case "geometries":
			o.geometries = value
		case "features":
			o.features = value
		}
	}
	if o.crs != "" && !isWGS84(o.crs) {
		return fmt.Errorf("%s has another coordinate reference system (crs) than WGS 84; ogr2ogr -lco RFC7946=YES converts it", at)
	}
	kind := unquote(o.kind)
	wanted := map[string]*string{
		"Polygon": &o.coordinates, "MultiPolygon": &o.coordinates,
		"Feature": &o.geometry, "FeatureCollection": &o.features, "GeometryCollection": &o.geometries,
	}[kind]
	if wanted == nil {
		return fmt.Errorf("%s is of type %.40q: want Polygon, MultiPolygon, Feature, FeatureCollection or GeometryCollection", at, kind)
	}
	content := *wanted
	// RFC 7946 section 7.1: what belongs to another type is not in this one.
	if *wanted = ""; o.coordinates+o.geometry+o.geometries+o.features != "" {
		return fmt.Errorf("%s is a %s and has a member of another type", at, kind)
	}
	if content == "" {
		return fmt.Errorf("%s is a %s without its content", at, kind)
	}
	switch kind {
	case "Feature":
		if content == "null" {
			return fmt.Errorf("%s has no geometry", at)
		}
		return p.object(path+".geometry", content)
	case "FeatureCollection":
		return p.objects(path+".features", content)
	case "GeometryCollection":
		return p.objects(path+".geometries", content)
	}
	c := cursor{text: content}
	if path += ".coordinates"; kind == "Polygon" {
		return p.polygon(&c, path)
	}
	return c.array(path, func(i int) error { return p.polygon(&c, element(path, i)) })
}

func (p *parser) objects(path, text string) error {
	c := cursor{text: text}
	return c.array(path, func(i int) error { return p.object(element(path, i), c.value()) })
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// isWGS84 reports whether a crs member, which RFC 7946 does not have any more, names longitude and
// latitude in WGS 84. GDAL writes the first of them unless it is told not to.
func isWGS84(crs string) bool {
	if crs[0] != '{' {
		return false
	}
	for name, value := range members(crs) {
		if name != "properties" || value[0] != '{' {
			continue
		}
		for name, value := range members(value) {
			if name != "name" {
				continue
			}
			switch unquote(value) {
			case "urn:ogc:def:crs:OGC:1.3:CRS84", "urn:ogc:def:crs:OGC::CRS84", "urn:ogc:def:crs:EPSG::4326", "EPSG:4326":
				return true
			}
		}
	}
	return false
}

// polygon reads an array of rings.
func (p *parser) polygon(c *cursor, path string) error {
	p.polygons++
	return c.array(path, func(i int) error { return p.ring(c, ringName{path, i}) })
}

// ring reads an array of positions.
func (p *parser) ring(c *cursor, name ringName) error {
	r := ring{first: uint32(len(p.positions)), polygon: p.polygons, hole: name.ring > 0, name: name}
	var firstLon, firstLat, lon, lat float64
	n := 0
	err := c.array(name.String(), func(i int) error {
		n++
		if p.count++; p.count > maxPositions {
			return fmt.Errorf("the document has more than %d positions; simplify it", maxPositions)
		}
		lastLon := lon
		var err error
		if lon, lat, err = c.position(); err != nil {
			return fmt.Errorf("%v: position %d %w", name, i, err)
		}
		if i == 0 {
			firstLon, firstLat = lon, lat
		} else if jump := math.Abs(lon - lastLon); jump > 180 && jump < 360 {
			return fmt.Errorf("%v: position %d is %v° of longitude away from the one before it: "+
				"split a polygon that crosses the antimeridian there (RFC 7946 section 3.1.9); "+
				"an edge that is so long needs another position in between", name, i, jump)
		}
		if at := pointAt(lon, lat); i == 0 || at != p.positions[len(p.positions)-1] {
			p.positions, p.source = append(p.positions, at), append(p.source, uint32(i))
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n < 4 {
		return fmt.Errorf("%v has %d positions: a ring has at least four", name, n)
	}
	if lon != firstLon || lat != firstLat {
		return fmt.Errorf("%v is not closed: position %d, its last, is not equal to position 0", name, n-1)
	}
	r.end = uint32(len(p.positions)) - 1
	p.rings = append(p.rings, r)
	return nil
}
