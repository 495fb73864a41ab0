package configs

import (
	"log/slog"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"tilegate/internal/tile"
)

// defaults is the configuration of an empty file.
func defaults() *Config {
	return &Config{
		Server: Server{
			Listen:          ":8080",
			AdminListen:     "127.0.0.1:9090",
			CORS:            CORS{MaxAge: 2 * time.Hour},
			ShutdownTimeout: 20 * time.Second,
			Limits: ServerLimits{
				HeaderBytes: 16 * kibibyte,
				ReadHeader:  5 * time.Second,
				Idle:        2 * time.Minute,
				WriteStall:  30 * time.Second,
			},
		},
		Logging: Logging{Format: "json", Level: slog.LevelInfo, Access: true},
		AWS: AWS{
			Role:     Role{SessionName: "tilegate", Duration: time.Hour, Tags: map[string]string{}, ScopeDown: true},
			Timeouts: Timeouts{FirstByte: 30 * time.Second, Progress: 10 * time.Second},
		},
		Cache: Cache{
			Memory:    512 * mebibyte,
			MaxObject: 8 * mebibyte,
			Freshness: Freshness{Fresh: 5 * time.Minute, Stale: 24 * time.Hour, MissingFor: 30 * time.Second},
		},
		Auth: Auth{
			Claims:      Claims{Tilesets: "tilesets", ScopePrefix: "tiles:", Zoom: "zoom", BBox: "bbox"},
			Leeway:      30 * time.Second,
			MaxLifetime: 24 * time.Hour,
			Session:     Session{TTL: 15 * time.Minute, SameSite: "lax"},
			TokenWindow: 15 * time.Minute,
		},
		CDN:     CDN{TTL: 24 * time.Hour},
		Presign: Presign{Expires: 15 * time.Minute, Window: 5 * time.Minute},
	}
}

// prefill gives one element of a list or mapping its defaults before its keys are read. The sections
// that a tileset inherits from have been read by then: fields are read in the order of the structs.
func (c *Config) prefill(element any) {
	switch e := element.(type) {
	case *Issuer:
		e.JWKSRefresh = 10 * time.Minute
	case *VectorLayer:
		e.Fields = map[string]string{}
	case *Tileset:
		e.MaxZoom = tile.MaxZoom
		e.Bounds = tile.World
		e.Missing = "404"
		e.MissingOn403 = "auto"
		e.Browser = "balanced"
		e.Cache = c.Cache.Freshness
		e.Role = c.AWS.Role
		e.Role.Tags = maps.Clone(c.AWS.Role.Tags)
	}
}

// derive fills in what follows from other keys, and makes paths usable from the working directory.
func (c *Config) derive(dir string) {
	if u := strings.TrimRight(c.Server.PublicURL, "/"); u != "" {
		c.Server.PublicURL = u
	}
	paths := []*string{&c.Server.TLS.CertFile, &c.Server.TLS.KeyFile, &c.AWS.Role.WebIdentityTokenFile}
	for i := range c.Tilesets {
		t := &c.Tilesets[i]
		paths = append(paths, &t.Role.WebIdentityTokenFile)
		if t.Name == "" {
			t.Name = t.ID
		}
		if t.Format == "" && !t.Source.Archive {
			if f := tile.FormatOf(t.Source.Key); f != nil {
				t.Format = f.Name
			}
		}
	}
	for _, p := range paths {
		*p = within(dir, *p)
	}
}

// within resolves a file's path against the configuration's directory.
func within(dir, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}
