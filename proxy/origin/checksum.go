package origin

import (
	"crypto/sha1" //nolint:gosec // one of the checksums that S3 keeps; it guards against faults, not against forgers
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"net/http"
	"strings"
)

// crc64NVME is the polynomial of the checksum that S3 computes of every object by itself.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
var (
	crc64NVME = crc64.MakeTable(0x9a6c9329ac4bc9b5)
	crc32C    = crc32.MakeTable(crc32.Castagnoli)
)

// checksumOf returns the hash and the sum that S3 keeps of an object; nil where S3 tells none. A sum with a
// hyphen is made of the checksums of a multipart upload's parts. The body alone does not tell where its parts
// began.
func checksumOf(h http.Header) (hash.Hash, []byte) {
	for _, c := range []struct {
		header string
		make   func() hash.Hash
	}{
		{"X-Amz-Checksum-Crc64nvme", func() hash.Hash { return crc64.New(crc64NVME) }},
		{"X-Amz-Checksum-Crc32c", func() hash.Hash { return crc32.New(crc32C) }},
		{"X-Amz-Checksum-Crc32", func() hash.Hash { return crc32.NewIEEE() }},
		{"X-Amz-Checksum-Sha256", sha256.New},
		{"X-Amz-Checksum-Sha1", sha1.New},
	} {
		if want := h[c.header]; len(want) == 1 && !strings.Contains(want[0], "-") {
			sum, err := base64.StdEncoding.DecodeString(want[0])
			if err != nil {
				sum = nil // no body has this sum
			}
			return c.make(), sum
		}
	}
	return nil, nil
}
