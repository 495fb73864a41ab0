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
//	{x:03}       {z}, {x}, {y} and {-y} may have a width: with zeros in front, at least that many digits
//	{x:08x}      and in hexadecimal, in lower case
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
	is    placeholder
	text  string
	width int  // least number of digits, filled up with zeros; 0 for as many as it takes
	hex   bool // lower-case hexadecimal digits
}

// maxWidth is the largest width, in digits: 2^30 has ten.
const maxWidth = 10

// size is the most bytes that the piece becomes.
func (p piece) size() int { return len(p.text) + max(widths[p.is], p.width) }

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
	bucketName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$`) // _ is for other services than AWS
	// https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-points-naming.html
	accessPointARN  = regexp.MustCompile(`^(arn:aws[a-z-]*:s3:[a-z0-9-]+:[0-9]{12}:accesspoint/[a-z0-9][a-z0-9-]{1,48}[a-z0-9])(?:/(.*))?$`)
	anyPlaceholder  = regexp.MustCompile(`@\{scale\}x|\{[^{}]*\}`)
	oddKey          = regexp.MustCompile(`(^|/)\.{1,2}(/|$)|[[:cntrl:]]`)
	padded          = regexp.MustCompile(`^\{(z|x|y|-y):0([1-9][0-9]?)(x?)\}$`)
	digitsOrNothing = regexp.MustCompile(`^[0-9]*$`)
	hexOrNothing    = regexp.MustCompile(`^[0-9a-f]*$`)
)

// ParseSource reads s3://bucket/key. A key with placeholders must be different for every two tiles, so that
// no two tiles share an object.
func ParseSource(s string) (Source, error) {
	location, isS3 := strings.CutPrefix(s, "s3://")
	bucket, key, _ := strings.Cut(location, "/")
	if found := accessPointARN.FindStringSubmatch(location); found != nil {
		bucket, key = found[1], found[2]
	}
	switch {
	case !isS3 && strings.HasSuffix(s, ".mbtiles"): // other files are told once the bucket is known
		problem, hint := unconverted(s)
		return Source{}, errors.New(problem + "; " + hint)
	case !isS3:
		return Source{}, errors.New("is not s3://bucket/key" + bucketAddress(s))
	case bucketFault(bucket) != "" && !accessPointARN.MatchString(location) && !strings.HasPrefix(bucket, "arn:"):
		return Source{}, errors.New("names no valid bucket: " + bucketFault(bucket) + "; write s3://bucket/key")
	case !bucketName.MatchString(bucket) && !accessPointARN.MatchString(location):
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
			src.pieces = append(src.pieces, parsePlaceholder(rest[at[0]:at[1]]))
		}
		rest = rest[at[1]:]
	}
	if err := src.check(); err != nil {
		return Source{}, err
	}
	src.Archive = !src.tiled() && strings.HasSuffix(key, archiveExtension)
	return src, nil
}

// bucketFault says which rule a bucket's name breaks, "" where it is none of these.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
func bucketFault(name string) string {
	switch {
	case name == "":
		return "there is nothing before the key"
	case strings.ContainsAny(name, "{}"):
		return "a placeholder cannot stand for it"
	case name != strings.ToLower(name):
		return "its name must be in lower case"
	case len(name) < 3 || len(name) > 63:
		return fmt.Sprintf("a name has 3 to 63 characters, and this one has %d", len(name))
	case strings.Contains(name, ".."):
		return "two dots must not follow each other"
	case !bucketName.MatchString(name):
		return "a name has a-z, 0-9, . and - alone, and begins and ends with a letter or digit"
	}
	return ""
}

// bucketHost finds the bucket in an https address of S3's.
var bucketHost = regexp.MustCompile(`^https?://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.s3[.-][a-z0-9.-]*amazonaws\.com/(.*)$`)

// bucketAddress says how an https address of S3's is written here.
func bucketAddress(s string) string {
	if found := bucketHost.FindStringSubmatch(s); found != nil {
		return "; write s3://" + found[1] + "/" + found[2]
	}
	return ""
}

// parsePlaceholder reads {x} or {x:08x}. What it does not know is left for check.
func parsePlaceholder(text string) piece {
	match := padded.FindStringSubmatch(text)
	if match == nil {
		return piece{is: placeholder(text)}
	}
	width, _ := strconv.Atoi(match[2]) // one or two digits
	if width > maxWidth {
		return piece{is: placeholder(text)}
	}
	return piece{is: placeholder("{" + match[1] + "}"), width: width, hex: match[3] != ""}
}

func (s Source) check() error {
	size, between, afterNumber, afterHex := 0, "", false, false
	for _, p := range s.pieces {
		// Two numbers must be told apart by what is between them. Of a hexadecimal number a to f are digits, too; the
		// text between ends it only with something else.
		none := digitsOrNothing
		if afterHex || p.hex {
			none = hexOrNothing
		}
		switch {
		case p.is == literal && strings.ContainsAny(p.text, "{}"):
			return errors.New("has a brace without its partner")
		case p.is != literal && widths[p.is] == 0:
			return fmt.Errorf("has %s, which is no placeholder; known: {z} {x} {y} {-y} {q} {scale}, and with a width of up to %d digits {x:03}, {x:08x}", p.is, maxWidth)
		case p.is == literal:
			between += p.text
		case p.is == atScale: // is nothing at scale 1
		case afterNumber && none.MatchString(between):
			return fmt.Errorf("has nothing between %s and the number before it: two tiles would share an object; put a / between", p.is)
		default:
			between, afterNumber, afterHex = "", true, p.hex
		}
		size += p.size()
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
			key = p.number(key, uint64(z))
		case column:
			key = p.number(key, uint64(x))
		case row:
			key = p.number(key, uint64(y))
		case tmsRow:
			key = p.number(key, uint64(1)<<z-1-uint64(y))
		case quadkey:
			key = tile.AppendQuadkey(key, z, x, y)
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

// number appends a number in the piece's form.
func (p piece) number(key []byte, n uint64) []byte {
	base := 10
	if p.hex {
		base = 16
	}
	var digits [20]byte
	text := strconv.AppendUint(digits[:0], n, base)
	for i := len(text); i < p.width; i++ {
		key = append(key, '0')
	}
	return append(key, text...)
}

// String returns the source as the configuration file has it.
func (s Source) String() string {
	if s.Bucket == "" {
		return ""
	}
	return "s3://" + s.Bucket + "/" + s.Key
}
