package shared

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
)

// format is the first byte of what is stored. It rises when the meaning of what follows changes.
const format = 1

// sealer seals and opens the records of one feed under one prefix.
type sealer []cipher.AEAD

// newSealer derives a key from each signing key. What is sealed for another purpose or prefix does not open.
func newSealer(signingKeys [][]byte, purpose, prefix string) sealer {
	s := make(sealer, len(signingKeys))
	for i, secret := range signingKeys {
		key, err := hkdf.Key(sha256.New, secret, nil, "tilegate v1 shared "+purpose+"\x00"+prefix, 32)
		if err == nil {
			var block cipher.Block
			if block, err = aes.NewCipher(key); err == nil {
				s[i], err = cipher.NewGCMWithRandomNonce(block)
			}
		}
		if err != nil {
			panic(err) // none of them refuses 32 bytes
		}
	}
	return s
}

// seal seals a record so that it opens only where it belongs: in the feed, or under the name of a tile.
func (s sealer) seal(record []byte, place string) []byte {
	return s.sealInPlace(append(make([]byte, 1, 1+len(record)+sealOverhead), record...), place)
}

// sealOverhead is how many bytes longer a record gets, beside its first one: GCM's nonce and tag.
const sealOverhead = 12 + 16

// sealInPlace is seal for the record after the first byte of buf, which it overwrites.
func (s sealer) sealInPlace(buf []byte, place string) []byte {
	buf[0] = format
	return s[0].Seal(buf[:1], nil, buf[1:], associated(place)) //nolint:gosec // it makes a random nonce itself
}

var errForeign = errors.New("a record was not sealed by this service")

// open returns the record of what seal has returned, which it overwrites.
func (s sealer) open(sealed []byte, place string) ([]byte, error) {
	if len(sealed) == 0 || sealed[0] != format {
		return nil, errForeign
	}
	sealed = sealed[1:]
	for i, aead := range s {
		var into []byte
		if i == len(s)-1 { // a key that does not fit leaves nothing for the next one to open
			into = sealed[:0]
		}
		if record, err := aead.Open(into, nil, sealed, associated(place)); err == nil {
			return record, nil
		}
	}
	return nil, errForeign
}

func associated(place string) []byte { return append([]byte{format}, place...) }
