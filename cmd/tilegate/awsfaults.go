package main

import (
	"cmp"
	"errors"
	"reflect"
	"slices"
	"strings"

	"tilegate/configs"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// originError turns an error of origin.New into faults of the configuration file, each at the key that it is about. The
// file alone does not show them, since AWS's variables and shared files may have what it lacks.
func originError(c *configs.Config, err error) error {
	faults, others := originFaults(c, err)
	if len(others) > 0 {
		return errors.Join(others...)
	}
	slices.SortStableFunc(faults, func(a, b configs.Fault) int { return cmp.Compare(a.Line, b.Line) })
	return &configs.Error{Faults: faults}
}

// originFaults returns the faults in an error of origin.New that have a key, and the other errors.
func originFaults(c *configs.Config, err error) (faults []configs.Fault, others []error) {
	for _, fault := range joined(err) {
		var option *origin.OptionError
		var source *origin.SourceError
		switch {
		case errors.As(fault, &option) && optionKey(option) != "":
			faults = append(faults, c.Fault(optionKey(option), option.Problem, option.Hint))
		case errors.As(fault, &source) && sourceKey(c, source) != "":
			faults = append(faults, c.Fault(sourceKey(c, source), source.Problem, source.Hint))
		default:
			others = append(others, fault)
		}
	}
	return faults, others
}

// joined lists the errors that errors.Join has joined.
func joined(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return []error{err}
}

// optionKey is the key of the file that a field of origin.Options or of an origin.Store comes from, "" where there is
// none.
func optionKey(e *origin.OptionError) string {
	if e.Field == "PresignExpires" {
		return "presign.expires"
	}
	key := storeKeys[e.Field]
	switch {
	case key == "":
		return ""
	case e.Store == "":
		return "aws." + key
	}
	return "stores." + e.Store + "." + key
}

// storeKeys are the keys of a store, without its name, by the fields of origin.Store.
var storeKeys = map[string]string{
	"Region":          "region",
	"STSEndpoint":     "sts_endpoint",
	"Anonymous":       "anonymous",
	"RequestPayer":    "request_payer",
	"Profile":         "credentials.profile",
	"SecretAccessKey": "credentials.secret_access_key",
}

// sourceKey is the key of the file that a field of an origin.Source comes from, "" where there is none.
func sourceKey(c *configs.Config, e *origin.SourceError) string {
	section := "tilesets." + e.ID
	if id, isFile := strings.CutPrefix(e.ID, "file:"); isFile {
		section = "files." + id
	}
	if id, isBundle := strings.CutPrefix(e.ID, tile.BundlePrefix); isBundle {
		section = "bundles." + id
	}
	switch e.Field {
	case "Bucket":
		return section + ".source"
	case "Region":
		return section + ".region"
	case "Store":
		return section + ".store"
	case "Vend":
		return section + ".vend"
	case "Role.ScopeDown":
		return roleKey(c, e.ID) + ".scope_down"
	}
	return ""
}

// roleKey is the key that the role of a source comes from: its own, or that of its store.
func roleKey(c *configs.Config, id string) string {
	for _, t := range c.Tilesets {
		if t.ID == id {
			return roleKeyOf(c, "tilesets."+id, t.Store, t.Role)
		}
	}
	for _, f := range c.Files {
		if "file:"+f.ID == id {
			return roleKeyOf(c, "files."+f.ID, f.Store, f.Role)
		}
	}
	for _, b := range c.Bundles {
		if tile.BundlePrefix+b.ID == id {
			return roleKeyOf(c, "bundles."+b.ID, b.Store, b.Role)
		}
	}
	return "aws.role"
}

func roleKeyOf(c *configs.Config, section, store string, role configs.Role) string {
	switch s := c.Store(store); {
	case s == nil || !reflect.DeepEqual(role, s.Role):
		return section + ".role"
	case store != "":
		return "stores." + store + ".role"
	}
	return "aws.role"
}
