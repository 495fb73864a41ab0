package configs

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// validator holds a configuration against every rule. It changes nothing, and one broken rule hides no other.
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
	v.durations()
}

// fault notes a broken rule, unless the value is unknown for a reason that has been told already.
func (v *validator) fault(key, problem, hint string) {
	if !v.doubtful(key) {
		v.add(key, problem, hint)
	}
}

// conflict notes a rule that two keys break together, at the one that the file sets.
func (v *validator) conflict(key, other, problem, hint string) {
	switch {
	case v.doubtful(key) || v.doubtful(other):
	case v.written(key):
		v.add(key, problem, hint)
	default:
		v.add(other, problem, hint)
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

// durations holds every duration that has bounds to them.
func (v *validator) durations() {
	const minPresigned = 20 * time.Second // the shortest life of a URL that is handed out
	const forever = time.Duration(1<<63 - 1)
	for _, d := range []struct {
		key      string
		value    time.Duration
		min, max time.Duration
	}{
		{"server.limits.read_header", v.Server.Limits.ReadHeader, time.Millisecond, forever},
		{"server.limits.idle", v.Server.Limits.Idle, time.Millisecond, forever},
		{"server.limits.write_stall", v.Server.Limits.WriteStall, time.Millisecond, forever},
		{"aws.timeouts.first_byte", v.AWS.Timeouts.FirstByte, time.Millisecond, forever},
		{"aws.timeouts.progress", v.AWS.Timeouts.Progress, time.Millisecond, forever},
		{"auth.leeway", v.Auth.Leeway, 0, 5 * time.Minute},
		{"auth.session.ttl", v.Auth.Session.TTL, 3 * time.Second, forever},
		{"auth.token_window", v.Auth.TokenWindow, time.Second, forever},
		{"cdn.ttl", v.CDN.TTL, time.Second, forever},
		// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html: a week at most.
		{"presign.expires", v.Presign.Expires, 0, 7 * 24 * time.Hour},
		{"presign.window", v.Presign.Window, time.Second, forever},
	} {
		switch {
		case d.value < d.min:
			v.fault(d.key, fmt.Sprintf("must be at least %s", d.min), "")
		case d.value > d.max:
			v.fault(d.key, fmt.Sprintf("must be at most %s", d.max), "")
		}
	}
	if v.Presign.Window > v.Presign.Expires-minPresigned {
		v.conflict("presign.window", "presign.expires",
			fmt.Sprintf("window (%s) must be shorter than expires (%s) by 20s at least", v.Presign.Window, v.Presign.Expires),
			"URLs stay the same for a window, and must outlive it")
	}
}
