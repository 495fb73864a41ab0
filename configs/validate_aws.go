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
	if v.AWS.Region != "" && !region.MatchString(v.AWS.Region) {
		v.fault("aws.region", "is not a region", "write eu-central-1")
	}
	if v.AWS.Endpoint != "" {
		v.url("aws.endpoint", v.AWS.Endpoint)
	}
	if v.AWS.STSEndpoint != "" {
		v.url("aws.sts_endpoint", v.AWS.STSEndpoint)
	}
	for key, role := range v.roles() {
		v.role(key, role)
	}
}

// roles yields each role that the file sets, with its key.
func (v *validator) roles() iter.Seq2[string, Role] {
	return func(yield func(string, Role) bool) {
		if v.written("aws.role") && !yield("aws.role", v.AWS.Role) {
			return
		}
		for _, t := range v.Tilesets {
			if key := child(child("tilesets", t.ID), "role"); v.written(key) && !yield(key, t.Role) {
				return
			}
		}
	}
}

// owns reports whether a role's key is its own, and not inherited from aws.role.
func (v *validator) owns(role, name string) bool {
	return role == "aws.role" || v.written(child(role, name))
}

// role checks the keys that one role sets itself. Those that it inherits are checked at aws.role.
func (v *validator) role(key string, r Role) {
	own := func(name string) bool { return v.owns(key, name) }
	if r.ARN == "" && !v.isTemplate(key) {
		v.unusedRole(key, r)
		return
	}
	isAWS := v.AWS.Endpoint == "" && v.AWS.STSEndpoint == ""
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

// isTemplate reports whether a role is aws.role without an ARN, from which the roles of tilesets inherit.
func (v *validator) isTemplate(key string) bool {
	return key == "aws.role" && slices.ContainsFunc(v.Tilesets, func(t Tileset) bool { return t.Role.ARN != "" })
}

// unusedRole refuses the keys of a role without an ARN, which is never assumed.
func (v *validator) unusedRole(key string, r Role) {
	unset := v.AWS.Role
	unset.ARN = ""
	if key == "aws.role" {
		unset = defaults().AWS.Role
	}
	if !reflect.DeepEqual(r, unset) {
		v.fault(child(key, "arn"), "is required by the other keys of the role", "write arn:aws:iam::123456789012:role/tiles-reader")
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
