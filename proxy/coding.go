package proxy

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
	"strings"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

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

const (
	// packedHead is how many bytes of a stream are examined: enough for the first of what it holds, in bytes.
	packedHead = 512
	// brotliHead is the same of a Brotli stream, where the tables of a large tile come first.
	brotliHead = 16 << 10
	// maxZstdHead bounds the same of a Zstandard frame, of which nothing is known before the end of its first block. A
	// block has 128 KiB at most (RFC 8878 section 3.1.1.2), the headers and the checksum 25 bytes.
	maxZstdHead = 128<<10 + 32
	// maxExamining bounds the decoders that examine an object's first bytes at the same time. None of them waits for
	// anything; one of Zstandard's may need maxZstdWindow.
	maxExamining = 4
)

// packedHeadSize is how many bytes of a stream have to be looked at, given its first packedHead.
func packedHeadSize(coding string, begin []byte) int {
	switch coding {
	case "br":
		return brotliHead
	case "zstd":
		var frame zstd.Header
		if frame.Decode(begin) == nil && frame.FirstBlock.OK {
			return min(maxZstdHead, frame.HeaderSize+3+frame.FirstBlock.CompressedSize+4) // a last block's bytes wait for the checksum
		}
	}
	return packedHead
}

// unpackedHead returns the first bytes of what a stream holds, as far as its own first bytes tell.
func (ts *tileset) unpackedHead(coding string, packed []byte) []byte {
	ts.examining <- struct{}{}
	defer func() { <-ts.examining }()
	var r io.Reader
	switch coding {
	case "br":
		r = brotli.NewReader(bytes.NewReader(packed))
	case "zstd":
		decoder, err := newZstdReader(bytes.NewReader(packed))
		if err != nil {
			return nil
		}
		defer decoder.Close()
		r = decoder
	case "deflate":
		inflater, err := newInflater(bufio.NewReader(bytes.NewReader(packed)))
		if err != nil {
			return nil
		}
		r = inflater
	default:
		unpacker := unpackers.Get().(*gzip.Reader) //nolint:forcetypeassert // the pool holds nothing else
		defer unpackers.Put(unpacker)
		if unpacker.Reset(bytes.NewReader(packed)) != nil {
			return nil
		}
		unpacker.Multistream(false)
		r = unpacker
	}
	head := make([]byte, tile.SniffLength)
	n, _ := io.ReadFull(r, head)
	return head[:n]
}
