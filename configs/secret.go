package configs

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Secret is a value that comes from an environment variable or a file, and never goes into any output:
// however it is printed, logged or marshalled, what shows is where it came from.
type Secret struct{ content *content }

// content is behind a pointer because fmt prints an unexported field without asking its methods.
type content struct {
	value []byte
	from  string
}

// IsSet reports whether the configuration has this secret.
func (s Secret) IsSet() bool { return s.content != nil }

// Bytes returns a copy of the secret; nil when it is not set.
func (s Secret) Bytes() []byte {
	if s.content == nil {
		return nil
	}
	return bytes.Clone(s.content.value)
}

// String tells where the secret came from.
func (s Secret) String() string {
	if s.content == nil {
		return "(no secret)"
	}
	return "(secret from " + s.content.from + ")"
}

// Format implements fmt.Formatter for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// GoString implements fmt.GoStringer.
func (s Secret) GoString() string { return s.String() }

// MarshalText implements encoding.TextMarshaler.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements json.Marshaler.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }

// MarshalYAML implements yaml.Marshaler.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue implements slog.LogValuer.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// SigningKey is a Secret whose Bytes are the 32 of a key for tilegate's own tokens.
type SigningKey struct{ Secret }

// signingKeySize is the length of a signing key in bytes: what HMAC-SHA256 and HKDF make full use of.
const signingKeySize = 32

// ParseSigningKey reads a signing key: 32 raw bytes, or their base64 (either alphabet, padded or not) or
// hexadecimal form with white space around it, such as the line that tilegate keygen writes. Errors
// quote nothing of it.
func ParseSigningKey(data []byte) ([]byte, error) {
	isText := !bytes.ContainsFunc(data, func(r rune) bool { return r > '~' || r < ' ' && r != '\n' && r != '\r' && r != '\t' })
	if !isText {
		return exactKey(data)
	}
	text := strings.TrimSpace(string(data))
	if key, err := hex.DecodeString(text); err == nil && len(key) == signingKeySize {
		return key, nil
	}
	text = strings.TrimRight(text, "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	key, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, errors.New("is neither 32 raw bytes nor their base64 or hexadecimal form")
	}
	return exactKey(key)
}

func exactKey(key []byte) ([]byte, error) {
	if len(key) != signingKeySize {
		return nil, fmt.Errorf("holds %d bytes instead of %d", len(key), signingKeySize)
	}
	return bytes.Clone(key), nil
}

// maxSecret bounds a secret's file, in bytes; a certificate chain's key is a twentieth of it.
const maxSecret = 64 << 10

const secretHint = "write {env: NAME} or {file: PATH}"

// secret reads {env: NAME} or {file: PATH}; a file's last line break is not part of it.
func (d *decoder) secret(n *yaml.Node, key string, into *Secret) {
	value, from := d.secretBytes(n, key)
	if from == "" {
		return
	}
	if trimmed, ok := bytes.CutSuffix(value, []byte("\n")); ok {
		value = bytes.TrimSuffix(trimmed, []byte("\r"))
	}
	if len(value) == 0 {
		d.unreadable(key, "the secret is empty", "")
		return
	}
	*into = Secret{&content{value: value, from: from}}
}

func (d *decoder) signingKey(n *yaml.Node, key string, into *SigningKey) {
	value, from := d.secretBytes(n, key)
	if from == "" {
		return
	}
	parsed, err := ParseSigningKey(value)
	if err != nil {
		d.unreadable(key, "the signing key "+err.Error(), "make one with tilegate keygen")
		return
	}
	into.Secret = Secret{&content{value: parsed, from: from}}
}

// secretBytes returns a secret as it is in its variable or file, and where that is; "" for nowhere.
func (d *decoder) secretBytes(n *yaml.Node, key string) (value []byte, from string) {
	if n.Kind == yaml.ScalarNode {
		d.unreadable(key, "a secret is not written into the configuration", secretHint)
		return nil, ""
	}
	var reference struct {
		Env  string `yaml:"env"`
		File string `yaml:"file"`
	}
	d.section(n, key, reflect.ValueOf(&reference).Elem())
	switch name, file := reference.Env, reference.File; {
	case d.doubtful(key):
	case name != "" && file != "":
		d.unreadable(key, "has both env and file", "keep one of them")
	case name != "":
		text, ok := d.lookupEnv(name)
		if !ok {
			d.unreadable(child(key, "env"), "this environment variable is not set", "")
			return nil, ""
		}
		return []byte(text), "environment variable " + name
	case file != "":
		data, err := readBounded(within(d.dir, file), maxSecret)
		if err != nil {
			d.unreadable(child(key, "file"), err.Error(), "a relative path starts at the configuration's directory")
			return nil, ""
		}
		return data, "file " + file
	}
	return nil, ""
}
