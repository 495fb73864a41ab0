package auth

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"math"
	"time"

	"tilegate/internal/tile"
)

// Sessions and path tokens are not JWTs, since the one must fit into a cookie and the other into the URL of
// every tile. A compact token is base64url of
//
//	version and kind (one byte), exp, iat of the access token that it came from,
//	when the session was minted, 0 for none; of sessions: 8 random bytes,
//	subject, refs of the tokens it was minted from,
//	for each part of the grant: tilesets, the lists that must admit a tileset too,
//	least and greatest zoom, the boxes, the lists of areas;
//	16 bytes of HMAC-SHA256 over all that,
//
// where numbers are uvarints and strings are preceded by their length. The HMAC's key is derived from the
// signing key for this kind only, so that one kind never passes for another.
const (
	compactVersion = 3 << 4
	macSize        = 16
	nonceSize      = 8
	maxCompact     = 3 << 10 // characters: with a cookie's name and attributes well below 4 KiB
)

// signingKeys are the keys derived from one configured signing key by HKDF (RFC 5869).
type signingKeys struct {
	kid                   string // of own access tokens
	access, session, path []byte
	renewal               cipher.AEAD
}

func deriveKeys(secret []byte) signingKeys {
	derive := func(purpose string) []byte {
		k, err := hkdf.Key(sha256.New, secret, nil, "tilegate v1 "+purpose, sha256.Size)
		if err != nil {
			panic(err) // only for more than 255 hashes of output
		}
		return k
	}
	return signingKeys{
		kid:    base64.RawURLEncoding.EncodeToString(derive("kid")[:6]),
		access: derive("access"), session: derive("session"), path: derive("path"),
		renewal: renewalCipher(derive("renewal")),
	}
}

func (k signingKeys) of(kind Kind) []byte {
	if kind == Session {
		return k.session
	}
	return k.path
}

// seal writes g, a Session or Path grant without an ID, as a token of its kind, and sets its ID.
func (a *Authenticator) seal(g *Grant, parents []ref) (string, error) {
	body := []byte{compactVersion | byte(g.Kind)}
	body = binary.AppendUvarint(body, uint64(g.Expires.Unix()))
	body = binary.AppendUvarint(body, uint64(g.issuedAt))
	body = binary.AppendUvarint(body, uint64(g.mintedAt))
	if g.Kind == Session {
		var nonce [nonceSize]byte
		rand.Read(nonce[:])
		body = append(body, nonce[:]...)
	}
	body = appendText(body, g.Subject)
	body = append(body, byte(len(parents)))
	for _, parent := range parents {
		body = append(body, parent[:]...)
	}
	if len(g.parts) > math.MaxUint8 {
		return "", ErrTooLarge
	}
	body = append(body, byte(len(g.parts)))
	for _, p := range g.parts {
		body = appendPart(body, p)
	}
	if base64.RawURLEncoding.EncodedLen(len(body)+macSize) > maxCompact {
		return "", ErrTooLarge
	}
	g.ID = derivedID(string(body))
	g.bind(parents)
	return base64.RawURLEncoding.EncodeToString(append(body, mac(a.signing[0].of(g.Kind), body)...)), nil
}

// open verifies a token of a kind and reads it.
func (a *Authenticator) open(kind Kind, token string, now time.Time) (*Grant, error) {
	if len(token) > maxCompact {
		return nil, malformed("too long")
	}
	sealed, err := decodeBase64(token)
	if err != nil || len(sealed) <= macSize {
		return nil, malformed("not one of ours")
	}
	body, sum := sealed[:len(sealed)-macSize], sealed[len(sealed)-macSize:]
	isOurs := false
	for _, k := range a.signing {
		isOurs = isOurs || hmac.Equal(sum, mac(k.of(kind), body))
	}
	if !isOurs {
		return nil, unverified("not sealed by one of our keys for a " + kind.String() + " token")
	}
	g, err := parseCompact(kind, body, a.areas)
	if err != nil {
		return nil, err
	}
	if !now.Before(g.Expires) {
		return nil, refused("the token expired " + now.Sub(g.Expires).Truncate(time.Second).String() + " ago")
	}
	return g, nil
}

func mac(key, body []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(body)
	return h.Sum(nil)[:macSize]
}

// parseCompact reads what seal wrote. The body has been verified, but another version may have written it,
// so everything in it is checked.
func parseCompact(kind Kind, body []byte, areas []Area) (*Grant, error) {
	r := reader{rest: body, areas: areas}
	g := &Grant{Kind: kind, ID: derivedID(string(body))}
	r.check(r.byte() == compactVersion|byte(kind))
	g.Expires = time.Unix(r.seconds(), 0)
	g.issuedAt = r.seconds()
	g.mintedAt = r.seconds()
	if kind == Session {
		r.bytes(nonceSize)
	}
	g.Subject = string(r.bytes(r.length(maxName)))
	parents := make([]ref, r.byte())
	for i := range parents {
		copy(parents[i][:], r.bytes(len(ref{})))
	}
	g.parts = make([]part, r.byte())
	r.check(len(g.parts) > 0)
	for i := range g.parts {
		g.parts[i] = r.part()
	}
	g.describe()
	r.check(len(r.rest) == 0)
	if r.failed {
		return nil, malformed("written by another version of tilegate, or for an area that is no longer configured")
	}
	g.bind(parents)
	return g, nil
}

func appendPart(body []byte, p part) []byte {
	body = appendList(body, p.tilesets)
	body = append(body, byte(len(p.alsoWithin)))
	for _, list := range p.alsoWithin {
		body = appendList(body, list)
	}
	body = append(body, p.zoom.Min, p.zoom.Max)
	if p.place.boxes.Whole() {
		body = append(body, 0)
	} else {
		boxes := p.place.boxes.Boxes()
		body = append(body, byte(len(boxes)+1))
		for _, b := range boxes {
			for _, degrees := range b.Degrees() {
				body = binary.BigEndian.AppendUint64(body, math.Float64bits(degrees))
			}
		}
	}
	body = append(body, byte(len(p.place.areas)))
	for _, group := range p.place.areas {
		body = appendList(body, areaNames(group))
	}
	return body
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// reader reads the values of a body in turn. Once a value is wrong or missing, failed is true and all
// further values are zero.
type reader struct {
	rest   []byte
	areas  []Area // that are known
	failed bool
}

func (r *reader) check(ok bool) { r.failed = r.failed || !ok }

func (r *reader) bytes(n int) []byte {
	if r.failed || n > len(r.rest) {
		r.failed = true
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *reader) byte() byte {
	b := r.bytes(1)
	if len(b) == 0 {
		return 0
	}
	return b[0]
}

func (r *reader) number() uint64 {
	n, size := binary.Uvarint(r.rest)
	if r.failed || size <= 0 {
		r.failed = true
		return 0
	}
	r.rest = r.rest[size:]
	return n
}

func (r *reader) seconds() int64 {
	n := r.number()
	r.check(n <= lastDate)
	return int64(n & math.MaxInt64)
}

func (r *reader) length(limit int) int {
	n := r.number()
	r.check(n <= uint64(limit))
	return int(min(n, uint64(limit)))
}

func (r *reader) list() []string {
	list := make([]string, r.length(2*tile.MaxPatterns))
	for i := range list {
		list[i] = string(r.bytes(r.length(maxName)))
	}
	return list
}

func (r *reader) part() part {
	p := part{tilesets: r.list()}
	for range r.byte() {
		p.alsoWithin = append(p.alsoWithin, r.list())
	}
	p.zoom = tile.ZoomRange{Min: r.byte(), Max: r.byte()}
	r.check(p.zoom.Max <= tile.MaxZoom)
	if n := int(r.byte()); n > 0 {
		boxes := make([]tile.Box, 0, n-1)
		for range n - 1 {
			boxes = append(boxes, r.box())
		}
		p.place.boxes = tile.AreaOf(boxes)
	}
	for range r.byte() {
		group, known := namedAreas(r.areas, r.list())
		r.check(known)
		p.place.areas = append(p.place.areas, group)
	}
	p.place = p.place.located()
	return p
}

func (r *reader) box() tile.Box {
	var d [4]float64
	for i := range d {
		if b := r.bytes(8); len(b) == 8 {
			d[i] = math.Float64frombits(binary.BigEndian.Uint64(b))
		}
	}
	b, err := tile.ParseBox(d[:])
	r.check(err == nil && !b.CrossesAntimeridian())
	return b
}
