package configs

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// validator checks every rule that needs more than one value's own form. It changes nothing, and one broken
// rule hides no other.
type validator struct {
	*report
	*Config
}

func (v *validator) validate() {
	v.server()
	v.logging()
	v.aws()
	v.cache()
	v.auth()
	v.cdn()
	v.tilesets()
	v.files()
	v.bundles()
	v.presign()
	v.shared()
	v.limits()
}

// conflict notes a rule that two keys break together, at the one that the file sets.
func (v *validator) conflict(key, other, problem, hint string) {
	if v.written(key) {
		v.fault(key, problem, hint, other)
	} else {
		v.fault(other, problem, hint, key)
	}
}

func (v *validator) oneOf(key, value string, known ...string) {
	if !slices.Contains(known, value) {
		v.fault(key, "is none of "+strings.Join(known, ", "), nearestHint(value, known))
	}
}

func nearestHint(value string, known []string) string {
	if n := nearest(value, known); n != "" {
		return fmt.Sprintf("did you mean %s?", n)
	}
	return ""
}

func (v *validator) logging() {
	v.oneOf("logging.format", v.Logging.Format, "json", "text")
}

func (v *validator) cache() {
	if v.Cache.MaxObject < 1 {
		v.fault("cache.max_object", "must be at least one byte", sizeHint)
	}
	if v.Cache.MaxObject > v.Cache.Memory/2 {
		v.conflict("cache.max_object", "cache.memory",
			fmt.Sprintf("max_object (%s) must fit into memory (%s) twice", v.Cache.MaxObject, v.Cache.Memory), "")
	}
}

func (v *validator) files() {
	for _, f := range v.Files {
		key := child("files", f.ID)
		v.id(key, f.ID)
		v.location(key, f.Store, f.Region, f.Role)
		switch {
		case f.Source.Bucket == "":
			v.fault(child(key, "source"), "is required", "write s3://bucket/key")
		case directoryBucket(f.Source.Bucket):
			v.fault(child(key, "source"), directoryProblem, directoryHint)
		case f.Source.tiled():
			v.fault(child(key, "source"), "is one object, and has no placeholders", "serve tiles under tilesets")
		}
	}
}

func (v *validator) presign() {
	const minPresigned = 20 * time.Second // the shortest life of a URL that is handed out
	if v.Presign.Window > v.Presign.Expires-minPresigned {
		v.conflict("presign.window", "presign.expires",
			fmt.Sprintf("window (%s) must be shorter than expires (%s) by 20s at least", v.Presign.Window, v.Presign.Expires),
			"URLs stay the same for a window, and must outlive it")
	}
}
