package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"
	"tilegate/internal/weborigin"
)

// Note is something that the operator should know although nothing is wrong.
type Note struct {
	Line int // of the key, or of what it is missing from
	Key  string
	Text string
}

// String returns the note in one line, without the file's name.
func (n Note) String() string { return fmt.Sprintf("line %d: %s: %s", n.Line, n.Key, n.Text) }

func (v *validator) notes() []Note {
	var notes []Note
	add := func(key, text string) {
		k := key
		for !v.written(k) {
			k = parent(k)
		}
		notes = append(notes, Note{Line: v.positions[k].line, Key: key, Text: text})
	}
	for i, network := range v.Server.TrustedProxies {
		if network.Bits() == 0 {
			add(element("server.trusted_proxies", i), "trusts every client to say who it is and which host it asked for")
		}
	}
	for i, origin := range v.Server.CORS.Origins {
		pattern, err := weborigin.Parse(origin)
		switch key := element("server.cors.origins", i); {
		case err != nil:
		case pattern.Shared():
			add(key, "allows names that anybody can register, and so pages of strangers; list your own")
		case pattern.AnyPort():
			add(key, "allows every program that serves pages on a visitor's own machine; for development only")
		}
	}
	if len(v.Limits.DistinctTiles) > 0 {
		for _, t := range v.Tilesets {
			if t.Vend {
				add("limits.distinct_tiles", "cannot count what is read with the credentials of "+t.ID+", which has vend: true")
			}
		}
		if v.CDN.EdgeAuthorizes || v.CDN.CloudFront.KeyPairID != "" {
			add("limits.distinct_tiles", "cannot count what viewers get from the CDN, which authorizes them itself")
		}
	}
	if len(v.Auth.Issuers) > 0 && len(v.Auth.SigningKeys) == 0 {
		add("auth.signing_keys", "none: sessions and path tokens end with this process, and no other instance accepts them")
	}
	for i, host := range v.Auth.InsecureJWKSHosts {
		add(element("auth.insecure_jwks_hosts", i), "keys come from "+host+" over plain http: whoever can change that traffic can sign tokens")
	}
	if file := v.Auth.APIKeys.File; file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			add("auth.api_keys.file", "does not exist yet, so there are no API keys; tilegate key create makes it")
		}
	}
	for role := range v.roles() {
		if role.ARN != "" && role.Duration > time.Hour && role.WebIdentityTokenFile == "" && v.owns(role, "duration") {
			add(child(role.key, "duration"), roleChaining)
		}
	}
	for _, t := range v.Tilesets {
		if store := v.Store(t.Store); store != nil && store.Endpoint == "" && strings.Contains(t.Source.Bucket, "_") {
			add(child(child("tilesets", t.ID), "source"), "has _ in its bucket's name, which AWS never has: is the endpoint of another service missing?")
		}
		if f := tile.FormatNamed(t.Format); f != nil && f.Vector && t.VectorLayers == nil && !t.Source.Archive {
			text := "is not set: maps that list layers find none in TileJSON"
			if key := t.Source.MetadataKey(); key != "" {
				text = "is not set: TileJSON has the layers that s3://" + t.Source.Bucket + "/" + key + " names, if there is such an object"
			}
			add(child(child("tilesets", t.ID), "vector_layers"), text)
		}
		if t.Browser == "immutable" && t.Version == "" {
			add(child(child("tilesets", t.ID), "browser"), "browsers keep these tiles for a year; set version, and raise it when the data changes")
		}
	}
	v.bundleNotes(add)
	slices.SortStableFunc(notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key))
	})
	return notes
}
