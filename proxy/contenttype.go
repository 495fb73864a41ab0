package proxy

import (
	"path"
	"strings"
)

// assetTypes are the content types of a bundle's objects, by their extensions in lower case. The type that an object has in
// S3 does not count: whoever uploads could make a page of any object.
var assetTypes = map[string][]string{
	"json":    {"application/json"},
	"geojson": {"application/geo+json"},
	"pbf":     {"application/x-protobuf"},
	"mvt":     {"application/vnd.mapbox-vector-tile"},
	"mlt":     {"application/vnd.maplibre-tile"},
	"png":     {"image/png"},
	"jpg":     {"image/jpeg"},
	"jpeg":    {"image/jpeg"},
	"webp":    {"image/webp"},
	"avif":    {"image/avif"},
	"gif":     {"image/gif"},
	"tif":     {"image/tiff"},
	"tiff":    {"image/tiff"},
	"ktx2":    {"image/ktx2"},
	"glb":     {"model/gltf-binary"},
	"gltf":    {"model/gltf+json"},
	"terrain": {"application/vnd.quantized-mesh"},
	"pmtiles": {"application/vnd.pmtiles"},
	"wasm":    {"application/wasm"},
	"ttf":     {"font/ttf"},
	"otf":     {"font/otf"},
	"woff":    {"font/woff"},
	"woff2":   {"font/woff2"},
	"gz":      {"application/gzip"},
	"tgz":     {"application/gzip"},
	"zip":     {"application/zip"},
	"csv":     {"text/csv; charset=utf-8"},
	"txt":     {"text/plain; charset=utf-8"},
	"css":     {"text/css; charset=utf-8"},
	"pdf":     {"application/pdf"},

	"html":  {"text/html; charset=utf-8"},
	"htm":   {"text/html; charset=utf-8"},
	"xhtml": {"application/xhtml+xml"},
	"svg":   {"image/svg+xml"},
	"svgz":  {"image/svg+xml"},
	"xml":   {"application/xml"},
	"js":    {"text/javascript; charset=utf-8"},
	"mjs":   {"text/javascript; charset=utf-8"},
}

// activeTypes are the extensions of what a browser runs. From a bucket, and with our cookie, that is stored cross-site
// scripting.
var activeTypes = map[string]bool{"html": true, "htm": true, "xhtml": true, "svg": true, "svgz": true, "xml": true, "js": true, "mjs": true}

// packedTypes are the extensions of files that are meant to be stored as they are: that they begin like gzip says nothing
// about how they are encoded.
var packedTypes = map[string]bool{"gz": true, "tgz": true, "zip": true}

var octetStream = []string{"application/octet-stream"}

// sandbox is the Content-Security-Policy of active content. Without allow-same-origin its scripts have an origin of their
// own: they reach neither our cookie nor our answers.
var sandbox = []string{"sandbox allow-scripts; frame-ancestors 'self'"}

// assetExtension is what stands behind the last dot of a path's last segment, in lower case.
func assetExtension(file string) string {
	return strings.ToLower(strings.TrimPrefix(path.Ext(path.Base(file)), "."))
}

func assetType(extension string) []string {
	if t := assetTypes[extension]; t != nil {
		return t
	}
	return octetStream
}
