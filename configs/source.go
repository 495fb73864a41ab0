package configs

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"tilegate/internal/tile"
)

// Source is where in S3 the tiles of a tileset are: s3://bucket/key with placeholders in the key. Without
// placeholders it is one object, an archive or a file.
//
//	{z} {x} {y}  the tile's zoom, its column, and its row counted from the north
//	{-y}         its row counted from the south, as TMS does
//	{q}          its quadkey, a digit for each zoom, as Bing Maps does; zoom 0 has none
//	{scale}      n in a request for @{n}x, else 1; a whole @{scale}x is left out at scale 1
type Source struct {
	Bucket  string
	Key     string // with its placeholders
	Archive bool   // a .pmtiles archive
	pieces  []piece
}

// piece is a part of the key: a placeholder, or the text between two.
type piece struct {
	is   placeholder
	text string
}

type placeholder string

const (
	literal placeholder = ""
	zoom    placeholder = "{z}"
	column  placeholder = "{x}"
	row     placeholder = "{y}"
	tmsRow  placeholder = "{-y}"
	quadkey placeholder = "{q}"
	scale   placeholder = "{scale}"
	atScale placeholder = "@{scale}x"
)

// widths are the most bytes that each placeholder becomes.
var widths = map[placeholder]int{zoom: 2, column: 10, row: 10, tmsRow: 10, quadkey: tile.MaxZoom, scale: 3, atScale: 5}

// maxKey is the length of S3's longest key in bytes.
const maxKey = 1024

var (
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
	bucketName      = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	anyPlaceholder  = regexp.MustCompile(`@\{scale\}x|\{[^{}]*\}`)
	oddKey          = regexp.MustCompile(`(^|/)\.{1,2}(/|$)|[[:cntrl:]]`)
	digitsOrNothing = regexp.MustCompile(`^[0-9]*$`)
)

// ParseSource reads s3://bucket/key. A key with placeholders must be different for every two tiles, so that
// no two tiles share an object.
func ParseSource(s string) (Source, error) {
	location, isS3 := strings.CutPrefix(s, "s3://")
	bucket, key, _ := strings.Cut(location, "/")
	switch {
	case !isS3:
		return Source{}, errors.New("is not s3://bucket/key")
	case !bucketName.MatchString(bucket):
		return Source{}, errors.New("names no valid bucket; write s3://bucket/key")
	case key == "":
		return Source{}, errors.New("names no key in the bucket; write s3://bucket/key")
	case oddKey.MatchString(key):
		return Source{}, errors.New("has a . or .. segment or a control character in its key")
	}
	src := Source{Bucket: bucket, Key: key}
	for rest := key; rest != ""; {
		at := anyPlaceholder.FindStringIndex(rest)
		if at == nil {
			at = []int{len(rest), len(rest)}
		}
		if at[0] > 0 {
			src.pieces = append(src.pieces, piece{text: rest[:at[0]]})
		}
		if at[0] < at[1] {
			src.pieces = append(src.pieces, piece{is: placeholder(rest[at[0]:at[1]])})
		}
		rest = rest[at[1]:]
	}
	if err := src.check(); err != nil {
		return Source{}, err
	}
	src.Archive = !src.tiled() && strings.HasSuffix(key, ".pmtiles")
	return src, nil
}

func (s Source) check() error {
	size, between, afterNumber := 0, "", false
	for _, p := range s.pieces {
		switch {
		case p.is == literal && strings.ContainsAny(p.text, "{}"):
			return errors.New("has a brace without its partner")
		case p.is != literal && widths[p.is] == 0:
			return fmt.Errorf("has %s, which is no placeholder; known: {z} {x} {y} {-y} {q} {scale}", p.is)
		case p.is == literal:
			between += p.text
		case p.is == atScale: // is nothing at scale 1
		case afterNumber && digitsOrNothing.MatchString(between):
			return fmt.Errorf("has nothing between %s and the number before it: two tiles would share an object; put a / between", p.is)
		default:
			between, afterNumber = "", true
		}
		size += len(p.text) + widths[p.is]
	}
	if size > maxKey {
		return fmt.Errorf("can become a key of more than %d bytes", maxKey)
	}
	located := s.has(zoom) && s.has(column) && (s.has(row) || s.has(tmsRow))
	if s.tiled() && !located && !s.has(quadkey) {
		return errors.New("does not tell tiles apart; it needs {z}, {x} and {y} (or {-y}), or {q}")
	}
	return nil
}

func (s Source) has(p placeholder) bool {
	for _, q := range s.pieces {
		if q.is == p {
			return true
		}
	}
	return false
}

// tiled reports whether the source has placeholders.
func (s Source) tiled() bool {
	return len(s.pieces) > 1 || len(s.pieces) == 1 && s.pieces[0].is != literal
}

// Scalable reports whether the tiles have several scales.
func (s Source) Scalable() bool { return s.has(scale) || s.has(atScale) }

// Prefix returns the text with which every key of the source begins, up to the first placeholder.
func (s Source) Prefix() string {
	if len(s.pieces) > 0 {
		return s.pieces[0].text
	}
	return ""
}

// Object returns the key of a tile. z is at most 30, x and y are below 2^z, and the scale n is at least 1,
// and 1 if the source is not Scalable.
func (s Source) Object(z uint8, x, y uint32, n uint8) string {
	key := make([]byte, 0, 64)
	for _, p := range s.pieces {
		switch p.is {
		case literal:
			key = append(key, p.text...)
		case zoom:
			key = strconv.AppendUint(key, uint64(z), 10)
		case column:
			key = strconv.AppendUint(key, uint64(x), 10)
		case row:
			key = strconv.AppendUint(key, uint64(y), 10)
		case tmsRow:
			key = strconv.AppendUint(key, uint64(1)<<z-1-uint64(y), 10)
		case quadkey:
			for bit := z; bit > 0; bit-- {
				key = append(key, '0'+byte(x>>(bit-1)&1|y>>(bit-1)&1<<1))
			}
		case scale:
			key = strconv.AppendUint(key, uint64(n), 10)
		case atScale:
			if n > 1 {
				key = fmt.Appendf(key, "@%dx", n)
			}
		}
	}
	return string(key)
}

// String returns the source as the configuration file has it.
func (s Source) String() string {
	if s.Bucket == "" {
		return ""
	}
	return "s3://" + s.Bucket + "/" + s.Key
}
