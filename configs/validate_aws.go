package configs

import (
	"iter"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// The forms are those of the API reference of STS AssumeRole:
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
var (
	region      = regexp.MustCompile(`^[a-z0-9-]{1,64}$`)
	roleARN     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
	anyARN      = regexp.MustCompile(`^arn:[!-~]{16,}$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalID  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
	tagText     = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
)

const roleChaining = "AWS caps it at 1h when the base credentials are themselves a role's"

func (v *validator) aws() {
	v.store("aws", &v.AWS.Store)
	for i := range v.Stores {
		s := &v.Stores[i]
		key := child("stores", s.ID)
		v.id(key, s.ID)
		if s.ID == "aws" || s.ID == "default" {
			v.add(key, "is the name of the store that the section aws describes", "choose another, or write the keys under aws")
		}
		v.store(key, s)
	}
	for role := range v.roles() {
		v.role(role)
	}
}

func (v *validator) store(key string, s *Store) {
	v.region(child(key, "region"), s.Region)
	if s.Endpoint != "" {
		v.url(child(key, "endpoint"), s.Endpoint)
	}
	if s.STSEndpoint != "" {
		v.url(child(key, "sts_endpoint"), s.STSEndpoint)
	}
	v.credentials(key, s)
	switch {
	case !s.Anonymous:
	case s.RequestPayer:
		v.fault(child(key, "anonymous"), "excludes request_payer: somebody must pay", "drop the one or the other")
	case s.Role.ARN != "":
		v.fault(child(key, "anonymous"), "excludes a role, which signs requests", "drop the one or the other")
	case s.Credentials.given():
		v.fault(child(key, "anonymous"), "excludes credentials, which sign requests", "drop the one or the other")
	}
}

// given reports whether any credential is written down.
func (c Credentials) given() bool {
	return c.Profile != "" || c.AccessKeyID.IsSet() || c.SecretAccessKey.IsSet() || c.SessionToken.IsSet()
}

func (v *validator) region(key, name string) {
	if name != "" && !region.MatchString(name) {
		v.fault(key, "is not a region", "write eu-central-1")
	}
}

// credentials refuses what is given in two ways, or only in part.
func (v *validator) credentials(store string, s *Store) {
	c, key := s.Credentials, child(store, "credentials")
	id, secret, token := child(key, "access_key_id"), child(key, "secret_access_key"), child(key, "session_token")
	switch hasID, hasSecret := c.AccessKeyID.IsSet(), c.SecretAccessKey.IsSet(); {
	case c.Profile != "" && (hasID || hasSecret || c.SessionToken.IsSet()):
		v.fault(child(key, "profile"), "excludes an access key", "drop the one or the other")
	case hasID && !hasSecret:
		v.fault(secret, "is required with access_key_id", referenceHint, id)
	case hasSecret && !hasID:
		v.fault(id, "is required with secret_access_key", referenceHint, secret)
	case c.SessionToken.IsSet() && !hasID:
		v.fault(id, "is required with session_token", referenceHint, token)
	}
}

// location checks what a tileset or file says of its store, its bucket's region and its role.
func (v *validator) location(key, store, region string, role Role) {
	v.region(child(key, "region"), region)
	s := v.Store(store)
	if s == nil {
		known := make([]string, len(v.Stores))
		for i := range v.Stores {
			known[i] = v.Stores[i].ID
		}
		hint := nearestHint(store, known)
		if store == "aws" || store == "default" {
			hint = "leave it out for the store that the section aws describes"
		}
		v.fault(child(key, "store"), "is not under stores", hint)
		return
	}
	if s.Anonymous && role.ARN != "" && v.written(child(key, "role")) {
		v.fault(child(key, "role"), "needs a store that is not anonymous", "")
	}
}

// setRole is a role that the file sets, wholly or in part.
type setRole struct {
	Role
	key   string // where the file sets it
	store *Store // where it is assumed
	from  *Role  // what it takes its other keys from; nil for a store's own
}

// roles yields each role that the file sets: those of the stores, then those of tilesets and files.
func (v *validator) roles() iter.Seq[setRole] {
	return func(yield func(setRole) bool) {
		ofStore := func(key string, s *Store) bool {
			key = child(key, "role")
			return !v.written(key) || yield(setRole{s.Role, key, s, nil})
		}
		ofSource := func(key, store string, role Role) bool {
			s := v.Store(store)
			key = child(key, "role")
			return s == nil || !v.written(key) || yield(setRole{role, key, s, &s.Role})
		}
		if !ofStore("aws", &v.AWS.Store) {
			return
		}
		for i := range v.Stores {
			if !ofStore(child("stores", v.Stores[i].ID), &v.Stores[i]) {
				return
			}
		}
		for _, t := range v.Tilesets {
			if !ofSource(child("tilesets", t.ID), t.Store, t.Role) {
				return
			}
		}
		for _, f := range v.Files {
			if !ofSource(child("files", f.ID), f.Store, f.Role) {
				return
			}
		}
		for _, b := range v.Bundles {
			if !ofSource(child("bundles", b.ID), b.Store, b.Role) {
				return
			}
		}
	}
}

// owns reports whether a role's key is its own, and not inherited from its store's role.
func (v *validator) owns(r setRole, name string) bool {
	return r.from == nil || v.written(child(r.key, name))
}

// role checks the keys that one role sets itself. Those that it inherits are checked at the store's role.
func (v *validator) role(r setRole) {
	key := r.key
	own := func(name string) bool { return v.owns(r, name) }
	if r.ARN == "" && !v.isTemplate(r) {
		v.unusedRole(r)
		return
	}
	isAWS := r.store.Endpoint == "" && r.store.STSEndpoint == ""
	if own("arn") && r.ARN != "" && (isAWS && !roleARN.MatchString(r.ARN) || !anyARN.MatchString(r.ARN)) {
		v.fault(child(key, "arn"), "is not a role's ARN", "write arn:aws:iam::123456789012:role/tiles-reader")
	}
	if own("session_name") && !sessionName.MatchString(r.SessionName) {
		v.fault(child(key, "session_name"), "must be 2 to 64 letters, digits or _+=,.@-", "")
	}
	if own("external_id") && r.ExternalID != "" && (!externalID.MatchString(r.ExternalID) || len(r.ExternalID) > 1224) {
		v.fault(child(key, "external_id"), "must be 2 to 1224 letters, digits or _+=,.@:/-", "")
	}
	if own("duration") && (r.Duration < 15*time.Minute || r.Duration > 12*time.Hour) {
		v.fault(child(key, "duration"), "must be 15m to 12h", roleChaining)
	}
	if own("tags") {
		v.tags(child(key, "tags"), r.Tags)
	}
	isWeb, ownWeb := r.WebIdentityTokenFile != "", own("web_identity_token_file")
	if isWeb && r.ExternalID != "" && (ownWeb || own("external_id")) {
		v.fault(child(key, "external_id"), "does not go with web_identity_token_file", `AssumeRoleWithWebIdentity takes none: set ""`)
	}
	if isWeb && len(r.Tags) > 0 && (ownWeb || own("tags")) {
		v.fault(child(key, "tags"), "do not go with web_identity_token_file", "its token carries the session's tags: set {}")
	}
}

// isTemplate reports whether a role is a store's without an ARN, from which the roles of tilesets and files inherit.
func (v *validator) isTemplate(r setRole) bool {
	return r.from == nil &&
		(slices.ContainsFunc(v.Tilesets, func(t Tileset) bool { return t.Store == r.store.ID && t.Role.ARN != "" }) ||
			slices.ContainsFunc(v.Files, func(f File) bool { return f.Store == r.store.ID && f.Role.ARN != "" }) ||
			slices.ContainsFunc(v.Bundles, func(b Bundle) bool { return b.Store == r.store.ID && b.Role.ARN != "" }))
}

// unusedRole refuses the keys of a role without an ARN, which is never assumed.
func (v *validator) unusedRole(r setRole) {
	unset := defaults().AWS.Role
	if r.from != nil {
		unset = *r.from
		unset.ARN = ""
	}
	if !reflect.DeepEqual(r.Role, unset) {
		v.fault(child(r.key, "arn"), "is required by the other keys of the role", "write arn:aws:iam::123456789012:role/tiles-reader")
	}
}

func (v *validator) tags(key string, tags map[string]string) {
	if len(tags) > 50 {
		v.fault(key, "are more than STS's 50", "")
	}
	for name, value := range tags {
		switch {
		case name == "" || len(name) > 128 || len(value) > 256 || !tagText.MatchString(name) || !tagText.MatchString(value):
			v.fault(child(key, name), "is not a session tag: 128 characters for the name, 256 for the value, letters, digits, spaces and _.:/=+-@", "")
		case strings.HasPrefix(strings.ToLower(name), "aws:"):
			v.fault(child(key, name), "is a name that AWS keeps for itself", "leave out aws:")
		}
	}
}
