package configs_test

import (
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"tilegate/configs"
	"tilegate/internal/tile"
)

// TestTenLines: the file that the documentation opens with is ten lines long and valid.
func TestTenLines(t *testing.T) {
	file, err := os.ReadFile("testdata/ten-lines.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(file), "\n"); got != 10 {
		t.Errorf("got %d lines, want 10", got)
	}
	parse(t, string(file))
	if doc := reference(t); !strings.Contains(doc, "```yaml\n"+string(file)+"```") {
		t.Error("docs/configuration.md does not show testdata/ten-lines.yaml")
	}
}

// TestExampleShowsDefaults: what the example sets is what holds without it.
func TestExampleShowsDefaults(t *testing.T) {
	example, err := configs.Load("tilegate.example.yaml", env())
	if err != nil {
		t.Fatal(err)
	}
	plain := parse(t, `
auth:
  issuers:
  - issuer: https://id.example.com/
    audience: [tiles]
    algorithms: [RS256, ES256]
    jwks_url: https://id.example.com/jwks.json
tilesets:
  basemap:
    source: s3://acme-private-tiles/basemap/{z}/{x}/{y}.png
`)
	want := leaves(plain)
	for key, got := range leaves(example) {
		if got != want[key] {
			t.Errorf("%s: the example shows %s, the default is %s", key, got, want[key])
		}
	}
}

// TestExampleHasEveryKey: every key of Config is in the example, where "#key:" counts, and takes its
// place when the # is removed.
func TestExampleHasEveryKey(t *testing.T) {
	example, err := os.ReadFile("tilegate.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	full := regexp.MustCompile(`(?m)^( *)#(\S)`).ReplaceAllString(string(example), "$1$2")
	parse(t, full,
		"ACCESS_KEY_ID=a", "SECRET_ACCESS_KEY=b", "SESSION_TOKEN=c", "REDIS_PASSWORD=d", "SENTINEL_PASSWORD=e",
		"OIDC_SECRET=d", "ADMIN_TOKEN=0123456789abcdef", "ORIGIN_SECRET=0123456789abcdef", "HS_SECRET=0123456789abcdef0123456789abcdef")

	var document yaml.Node
	if err := yaml.Load([]byte(full), &document); err != nil {
		t.Fatal(err)
	}
	shown := map[string]bool{}
	collect(document.Content[0], "", shown)
	for _, key := range keys() {
		if !shown[key] {
			t.Errorf("%s is not in tilegate.example.yaml", key)
		}
	}
}

// TestReferenceHasEveryKey: every key of Config has a row in the documentation, with its default.
func TestReferenceHasEveryKey(t *testing.T) {
	rows := map[string]string{} // key → default
	for _, match := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]ID]+)` \\| .+ \\| (.+) \\| .+ \\|$").FindAllStringSubmatch(reference(t), -1) {
		rows[match[1]] = match[2]
	}
	defaults := leaves(parse(t, strings.ReplaceAll(`
auth: {issuers: [{issuer: "https://id.example.com", audience: [a], algorithms: [RS256], allow: {}}]}
tilesets: {ID: {source: "s3://acme/{z}/{x}/{y}.mvt", vector_layers: [{id: a}]}}
files: {ID: {source: s3://acme/a}}
bundles: {b: {source: s3://acme/a/}}
`, "ID", "id")))
	// What depends on other keys, or has no default, is said in words.
	words := map[string]string{
		"auth.issuers[].issuer": "required", "auth.issuers[].audience": "required", "auth.issuers[].algorithms": "required",
		"auth.issuers[].claims": "from `auth.claims`", "auth.issuers[].audience_claims": "`[aud]`",
		"auth.issuers[].ignore_unknown": "`true` with `roles`, otherwise `false`",
		"auth.issuers[].allow":          "none", "auth.issuers[].allow.tilesets": "none",
		"tilesets.ID.source": "required", "tilesets.ID.vector_layers[].id": "required", "files.ID.source": "required",
		"tilesets.ID.format": "from the source's extension", "tilesets.ID.name": "the id",
		"tilesets.ID.cache": "from `cache`", "tilesets.ID.role": "from the store's `role`", "files.ID.role": "from the store's `role`",
		"bundles.ID.source": "required", "bundles.ID.cache": "from `cache`", "bundles.ID.role": "from the store's `role`", "tilesets.ID.vector_layers": "`[]`",
	}
	for _, key := range keys() {
		want := words[key]
		if want == "" {
			want = defaults[key]
		}
		if want == "" {
			continue // a section, which has no row
		}
		if got, ok := rows[key]; !ok {
			t.Errorf("%s is not in docs/configuration.md", key)
		} else if got != want {
			t.Errorf("%s: documented default %s, want %s", key, got, want)
		}
		delete(rows, key)
	}
	for key := range rows {
		t.Errorf("docs/configuration.md has %s, which is no key", key)
	}
}

// TestReferenceHasEveryAlgorithm: what algorithms may hold is all written down.
func TestReferenceHasEveryAlgorithm(t *testing.T) {
	hint := faults(t, algorithms("none"))[0].Hint
	for name := range strings.SplitSeq(strings.TrimPrefix(hint, "known: "), ", ") {
		if !strings.Contains(reference(t), "`"+name+"`") {
			t.Errorf("%s is not in docs/configuration.md", name)
		}
	}
}

func reference(t *testing.T) string {
	t.Helper()
	doc, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

// keys lists the keys of Config in the documentation's spelling: tilesets.ID.source,
// auth.issuers[].issuer. A section of the same type as an earlier one is listed without its keys, and so is a
// store, which has those of aws.
func keys() []string {
	var all []string
	seen := map[reflect.Type]bool{}
	var walk func(t reflect.Type, key string)
	walk = func(t reflect.Type, key string) {
		switch t.Kind() {
		case reflect.Pointer:
			walk(t.Elem(), key)
			return
		case reflect.Slice:
			if isSection(t.Elem()) {
				all = append(all, key)
				walk(t.Elem(), key+"[]")
			} else {
				all = append(all, key)
			}
			return
		}
		key = strings.NewReplacer("tilesets[]", "tilesets.ID", "files[]", "files.ID", "stores[]", "stores.ID", "bundles[]", "bundles.ID").Replace(key)
		if key != "" && !strings.HasSuffix(key, "ID") && !strings.HasSuffix(key, "[]") {
			all = append(all, key)
		}
		if !isSection(t) || seen[t] {
			return
		}
		seen[t] = true
		for _, f := range reflect.VisibleFields(t) {
			seen[f.Type] = seen[f.Type] || f.Anonymous
		}
		for f := range fields(t) {
			walk(f.Type, strings.TrimPrefix(key+"."+f.Tag.Get("yaml"), "."))
		}
	}
	walk(reflect.TypeFor[configs.Config](), "")
	return slices.DeleteFunc(all, func(key string) bool {
		return key == "tilesets" || key == "files" || key == "stores" || key == "bundles" || key == "auth.issuers"
	})
}

// isSection reports whether a type is read as keys, and not as one value.
func isSection(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t.NumField() > 0 && t.Field(0).Tag.Get("yaml") != ""
}

// fields yields a section's keys; an embedded struct's are its own.
func fields(t reflect.Type) func(yield func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for _, f := range reflect.VisibleFields(t) {
			if tag := f.Tag.Get("yaml"); tag == "-" || tag == ",inline" || tag == "" {
				continue
			}
			if !yield(f) {
				return
			}
		}
	}
}

// leaves is every value of a configuration by its key, as the documentation writes it.
func leaves(c *configs.Config) map[string]string {
	all := map[string]string{}
	var walk func(v reflect.Value, key string)
	walk = func(v reflect.Value, key string) {
		if v.Kind() == reflect.Pointer && !v.IsNil() {
			walk(v.Elem(), key)
			return
		}
		if v.Kind() == reflect.Slice && isSection(v.Type().Elem()) {
			for i := range v.Len() {
				walk(v.Index(i), key+"[]")
			}
			return
		}
		key = strings.NewReplacer("tilesets[]", "tilesets.ID", "files[]", "files.ID", "stores[]", "stores.ID", "bundles[]", "bundles.ID").Replace(key)
		if !isSection(v.Type()) {
			all[key] = show(v)
			return
		}
		for f := range fields(v.Type()) {
			walk(v.FieldByIndex(f.Index), strings.TrimPrefix(key+"."+f.Tag.Get("yaml"), "."))
		}
	}
	walk(reflect.ValueOf(*c), "")
	return all
}

func show(v reflect.Value) string {
	switch value := v.Interface().(type) {
	case configs.Document:
		return "`\"\"`"
	case configs.Names, configs.Shape, configs.Secret, *bool, *configs.Limits, *tile.ZoomRange, *tile.Box, *uint8:
		return "none"
	case tile.Box:
		return "`" + strings.ReplaceAll(fmt.Sprint(value.Degrees()), " ", ", ") + "`"
	case time.Duration:
		s := value.String()
		if strings.HasSuffix(s, "m0s") {
			s = strings.TrimSuffix(s, "0s")
		}
		if strings.HasSuffix(s, "h0m") {
			s = strings.TrimSuffix(s, "0m")
		}
		return "`" + s + "`"
	case slog.Level:
		return "`" + strings.ToLower(value.String()) + "`"
	case string:
		if value == "" {
			return "`\"\"`"
		}
		return "`" + value + "`"
	}
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		items := make([]string, v.Len())
		for i := range items {
			items[i] = fmt.Sprint(v.Index(i))
		}
		return "`[" + strings.Join(items, ", ") + "]`"
	case reflect.Map:
		if v.Len() == 0 {
			return "`{}`"
		}
	}
	return "`" + fmt.Sprint(v) + "`"
}

// collect lists the keys of a YAML document in the documentation's spelling.
func collect(n *yaml.Node, key string, into map[string]bool) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(n.Content); i += 2 {
			name := n.Content[i].Value
			if key == "tilesets" || key == "files" || key == "stores" || key == "bundles" {
				name = "ID"
			}
			path := strings.TrimPrefix(key+"."+name, ".")
			into[path] = true
			collect(n.Content[i+1], path, into)
		}
	case yaml.SequenceNode:
		for _, item := range n.Content {
			collect(item, key+"[]", into)
		}
	}
}
