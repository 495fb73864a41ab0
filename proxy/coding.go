package proxy

import (
	"bytes"
	"compress/gzip"
	"io"
	"strings"

	"tilegate/internal/tile"
)

// passedOn are the codings that clients get as they are stored, if they accept them, with the value of the answer's
// Content-Encoding.
var passedOn = map[string][]string{"gzip": gzipEncoding, "br": {"br"}, "zstd": {"zstd"}, "deflate": {"deflate"}}

// otherCodings are the rest of IANA's registry of HTTP content codings. Bytes in one of them cannot be served.
var otherCodings = map[string]bool{
	"aes128gcm": true, "compress": true, "x-compress": true, "dcb": true, "dcz": true, "exi": true, "pack200-gzip": true,
}

// storedCoding reads an object's Content-Encoding. People write all sorts of things there: a word that is no content
// coding (UTF-8, none, binary, base64) says nothing about the bytes, and the first such word is returned as odd. ok is
// false for a coding that tilegate does not understand, and for several.
func storedCoding(field string) (coding, odd string, ok bool) {
	for word := range strings.SplitSeq(field, ",") {
		name := strings.ToLower(strings.TrimSpace(word))
		if name == "x-gzip" {
			name = "gzip"
		}
		switch {
		case name == "" || name == "identity":
		case otherCodings[name], passedOn[name] != nil && coding != "":
			return "", odd, false
		case passedOn[name] != nil:
			coding = name
		case odd == "":
			odd = name
		}
	}
	return coding, odd, true
}

// actualCoding corrects what an object's metadata say of its coding by its first bytes: metadata get lost, and can be
// wrong. Brotli and deflate have no signature, so they are believed unless the bytes are an image.
func actualCoding(stated string, head []byte, format *tile.Format) string {
	isZip := bytes.HasPrefix(head, []byte{0x1f, 0x8b}) // RFC 1952 section 2.3.1
	switch {
	case len(head) == 0 || format.Begins(head):
		return ""
	case stated == "br":
		return stated
	case isZip:
		return "gzip"
	case stated == "zstd" && isZstd(head), stated == "deflate":
		return stated
	}
	return ""
}

// isZstd reports whether head is that of a Zstandard frame, or of a skippable one (RFC 8878 section 3.1).
func isZstd(head []byte) bool {
	return bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}) || len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18})
}

// unzippedHead returns the first bytes of what a gzip stream holds, as far as its own first bytes tell.
func unzippedHead(zipped []byte) []byte {
	unpacker := unpackers.Get().(*gzip.Reader) //nolint:forcetypeassert // the pool holds nothing else
	defer unpackers.Put(unpacker)
	if unpacker.Reset(bytes.NewReader(zipped)) != nil {
		return nil
	}
	unpacker.Multistream(false)
	head := make([]byte, tile.SniffLength)
	n, _ := io.ReadFull(unpacker, head)
	return head[:n]
}
