package configs

import (
	"maps"
	"path/filepath"
	"reflect"
	"strings"

	"tilegate/internal/tile"
)

// defaults returns the configuration of an empty file.
func defaults() *Config {
	c := &Config{}
	setDefaults(reflect.ValueOf(c).Elem())
	c.AWS.Role.Tags = map[string]string{}
	c.Auth.Login.Scopes = []string{"openid"}
	return c
}

// setDefaults gives the fields of a section, and of the sections in it, the defaults of their tags.
func setDefaults(section reflect.Value) {
	for _, f := range fieldsOf(section) {
		text, ok := f.tag.Lookup("default")
		switch {
		case ok:
			if _, err := scalarParser(f.value.Addr().Interface())(text); err != nil {
				panic("configs: default of " + f.name + ": " + err.Error())
			}
		case f.value.Kind() == reflect.Struct:
			setDefaults(f.value)
		}
	}
}

// elementDefaults gives one element of a list or mapping its defaults before its keys are read. The
// sections that a tileset inherits from have been read by then.
func (c *Config) elementDefaults(element reflect.Value) {
	if element.Kind() == reflect.Struct {
		setDefaults(element)
	}
	switch e := element.Addr().Interface().(type) {
	case *VectorLayer:
		e.Fields = map[string]string{}
	case *Issuer:
		e.Claims = c.Auth.Claims
	case *Tileset:
		e.MaxZoom = tile.MaxZoom
		e.Bounds = tile.World
		e.Cache = c.Cache.Freshness
	case *Bundle:
		e.Cache = c.Cache.Freshness
	case *Store:
		e.Role.Tags = map[string]string{}
	}
}

// inheritRole gives a tileset or file the role of its store. A store that does not exist is a fault of its own.
func (c *Config) inheritRole(element any, store string) {
	from := c.Store(store)
	if from == nil {
		from = &c.AWS.Store
	}
	role := from.Role
	role.Tags = maps.Clone(role.Tags)
	switch e := element.(type) {
	case *Tileset:
		e.Role = role
	case *File:
		e.Role = role
	case *Bundle:
		e.Role = role
	}
}

// derive fills in what follows from other keys, and makes paths usable from the working directory.
func (c *Config) derive(dir string) {
	if u := strings.TrimRight(c.Server.PublicURL, "/"); u != "" {
		c.Server.PublicURL = u
	}
	paths := []*string{&c.Server.TLS.CertFile, &c.Server.TLS.KeyFile, &c.AWS.Role.WebIdentityTokenFile, &c.Auth.APIKeys.File}
	for i := range c.Stores {
		paths = append(paths, &c.Stores[i].Role.WebIdentityTokenFile)
	}
	for i := range c.Files {
		paths = append(paths, &c.Files[i].Role.WebIdentityTokenFile)
	}
	for i := range c.Bundles {
		paths = append(paths, &c.Bundles[i].Role.WebIdentityTokenFile)
	}
	for i := range c.Tilesets {
		t := &c.Tilesets[i]
		paths = append(paths, &t.Role.WebIdentityTokenFile)
		if t.Name == "" { // "" stands for the default, like a key that is left out
			t.Name, t.Given.Name = t.ID, false
		}
		if t.Format == "" {
			t.Given.Format = false
		}
		if t.Format == "" && !t.Source.Archive {
			if f := tile.FormatOf(t.Source.Key); f != nil {
				t.Format = f.Name
			}
		}
	}
	for _, p := range paths {
		*p = resolvePath(dir, *p)
	}
}

// resolvePath returns the path of a file that starts at dir unless it is absolute; "" stays "".
func resolvePath(dir, file string) string {
	if file == "" || filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(dir, file)
}
