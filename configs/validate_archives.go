package configs

import (
	"path"
	"regexp"
	"strings"
)

// archive checks the keys that only an archive has, or that have another meaning there.
func (v *validator) archive(key string, t *Tileset) {
	if t.Raw && !t.Source.Archive && t.Source.Bucket != "" {
		v.fault(child(key, "raw"), "is for PMTiles archives only: this source has an object for each tile", "remove it; tiles are served by their paths", child(key, "source"))
	}
	if t.TileSize != 0 && t.TileSize != 256 && t.TileSize != 512 {
		v.fault(child(key, "tile_size"), "is neither 256 nor 512", "")
	}
}

// archiveExtension ends the key of a PMTiles archive.
const archiveExtension = ".pmtiles"

// isTemplateOfArchives reports whether a key has placeholders, but would be an archive without them.
func (s Source) isTemplateOfArchives() bool {
	return s.tiled() && strings.HasSuffix(s.Key, archiveExtension)
}

// conversion says what a file is that holds a map but cannot be read by parts as tiles, and how an archive is made of it.
// $ stands for the file's name without its extension, and $@ for that.
type conversion struct{ what, commands string }

const (
	fromMBTiles = " && pmtiles convert $.mbtiles $.pmtiles"
	fromRaster  = "gdal_translate -of MBTILES $$@ $.mbtiles && gdaladdo $.mbtiles"
)

var geoTIFF = conversion{"a GeoTIFF, which has no tiles for maps", fromRaster + fromMBTiles}

// conversions has, by extension, the files that are often taken for tiles.
var conversions = map[string]conversion{
	".mbtiles": {"an MBTiles file, which cannot be read out of a bucket by parts", strings.TrimPrefix(fromMBTiles, " && ")},
	".tif":     geoTIFF,
	".tiff":    geoTIFF,
	".cog":     geoTIFF,
	".gpkg":    {"a GeoPackage, which cannot be read out of a bucket by parts", "ogr2ogr -f MBTiles $.mbtiles $$@" + fromMBTiles},
	".zip":     {"a ZIP file, which cannot be read by parts as tiles", "unzip $$@ -d $ && mb-util $ $.mbtiles" + fromMBTiles},
	".geojson": {"GeoJSON, which has no tiles", "tippecanoe -zg -o $.pmtiles $$@"},
}

// plainName is the name of a file that a shell reads as it is.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// unconverted says why an object is no source of tiles, and how an archive is made of it. The problem is "" where that is
// not known.
func unconverted(key string) (problem, hint string) {
	extension := path.Ext(key)
	c, ok := conversions[strings.ToLower(extension)]
	if !ok {
		return "", ""
	}
	name := strings.TrimSuffix(path.Base(key), extension)
	if !plainName.MatchString(name) {
		name = "tiles"
	}
	return "is " + c.what, "make an archive: " + strings.NewReplacer("$@", extension, "$", name).Replace(c.commands) + "; to give out the file itself, list it under files"
}
