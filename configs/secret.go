package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"

	"go.yaml.in/yaml/v4"
)

// Secret is a value that comes from an environment variable or a file. It is never part of any output:
// however it is printed, logged or marshalled, it shows only where it came from.
type Secret struct {
	// reveal hides the bytes in a closure: fmt prints unexported fields without calling their methods, and
	// follows pointers.
	reveal func() []byte
	from   string
}

func newSecret(value []byte, from string) Secret {
	return Secret{reveal: func() []byte { return value }, from: from}
}

// IsSet reports whether the configuration has this secret.
func (s Secret) IsSet() bool { return s.reveal != nil }

// Bytes returns a copy of the secret, nil if it is not set.
func (s Secret) Bytes() []byte {
	if s.reveal == nil {
		return nil
	}
	return bytes.Clone(s.reveal())
}

// String returns where the secret came from.
func (s Secret) String() string {
	if s.reveal == nil {
		return "(no secret)"
	}
	return "(secret from " + s.from + ")"
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// maxSecret bounds a secret's file, in bytes. The largest common private key needs a twentieth of it.
const maxSecret = 64 << 10

const referenceHint = "write {env: NAME} or {file: PATH}"

// secret reads {env: NAME} or {file: PATH}. The last line break is not part of the secret.
func (d *decoder) secret(n *yaml.Node, key string, into *Secret) {
	value, from := d.secretBytes(n, key)
	if from == "" {
		return
	}
	if trimmed, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		value = bytes.TrimSuffix(trimmed, []byte("\r"))
	}
	if len(value) == 0 {
		d.addUnread(key, "the secret is empty", "")
		return
	}
	*into = newSecret(value, from)
}

func (d *decoder) signingKey(n *yaml.Node, key string, into *SigningKey) {
	value, from := d.secretBytes(n, key)
	if from == "" {
		return
	}
	parsed, err := ParseSigningKey(value)
	if err != nil {
		d.addUnread(key, "the signing key "+err.Error(), "make one with tilegate keygen")
		return
	}
	into.Secret = newSecret(parsed, from)
}

// secretBytes returns the content of a secret's variable or file, and from where it is. from is "" if there
// is no secret.
func (d *decoder) secretBytes(n *yaml.Node, key string) (value []byte, from string) {
	if n.Kind == yaml.ScalarNode {
		d.addUnread(key, "a secret is not written into the configuration", referenceHint)
		return nil, ""
	}
	var reference struct {
		Env  string `yaml:"env"`
		File string `yaml:"file"`
	}
	d.section(n, key, reflect.ValueOf(&reference).Elem())
	switch name, file := reference.Env, reference.File; {
	case d.isUnread(key):
	case name != "" && file != "":
		d.addUnread(key, "has both env and file", "keep one of them")
	case name != "":
		text, ok := d.lookupEnv(name)
		if !ok {
			d.addUnread(child(key, "env"), "this environment variable is not set", "")
			return nil, ""
		}
		return []byte(text), "environment variable " + name
	case file != "":
		data, err := readBounded(resolvePath(d.dir, file), maxSecret)
		if err != nil {
			d.addUnread(child(key, "file"), err.Error(), "a relative path starts at the configuration's directory")
			return nil, ""
		}
		return data, "file " + file
	}
	return nil, ""
}
