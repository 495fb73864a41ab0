// Package area tells which tiles share area with polygons. It is the geometry behind auth.areas: a
// grant whose area is Bavaria admits the tiles that Bavaria is on.
//
//	a, err := area.Parse(geojson)  // once, when the configuration is read
//	a.Meets(12, 2179, 1420)        // for each tile, in about 200 ns, more where many edges meet in one place, without allocating
//
// Parse reads a Polygon or MultiPolygon, or a Feature, FeatureCollection or GeometryCollection of
// nothing else, in WGS 84. Several polygons are their union. As RFC 7946 has it, edges are straight in
// degrees, not on the map: that of 49°N is a parallel, and a long slanted one is a curve in Web Mercator.
// As for boxes, a latitude of 85.0511° is the end of the map.
//
// A polygon is what is inside its outer ring and outside all of its holes, and a place is inside a ring
// if a line to it from far away crosses the ring an odd number of times. This is so for rings that
// cross, touch or overlap themselves and each other, too: no such mistake makes a polygon larger than
// its outer ring, and a spike or a ring that has no area adds no tile. A polygon less than 0.1 mm wide
// or high has nothing that is a margin away from its edges, and is left out. Refused are rings that are
// not closed, and edges over more than 180° of longitude, since a polygon that crosses the antimeridian
// has to be split there and would otherwise cover the rest of the world.
//
// Meets is exact. A tile is a rectangle in degrees, too. Less a margin of 1e-12 of the world on each
// side, as of the boxes of package tile, either it shares area with a polygon, or it does not. Positions
// are rounded to 2^-53 degrees and tiles to some 1e-13, a thousandth of that margin: rounding never
// makes an area wider. Only where several rings of one polygon come close to each other, a part of it
// that is within the margins of a tile's quarters may be overlooked, which is 0.1 mm wide.
//
//	plane.go    points, tiles and edges, in whole numbers
//	geojson.go  Parse; strict.go reads its JSON
//	overlap.go  edges of a ring, and rings of a polygon, that overlap
//	build.go    the quadtree: cells that are inside, outside, or have a few edges
//	tangle.go   cells in which rings of one polygon are too close to each other for that
//	area.go     Area, and Meets
//	region.go   Region: unions and intersections of areas and boxes
package area
