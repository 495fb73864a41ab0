package configs

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"tilegate/internal/tile"

	"go.yaml.in/yaml/v4"
)

// decoder fills a Config from a YAML tree. The YAML library's own decoder does not do, because it gives no
// hints and not always a line, decides whether a value is a number before its ${VAR} is filled in, and
// expands aliases.
type decoder struct {
	*report
	config    *Config
	dir       string // of the configuration file
	lookupEnv func(string) (string, bool)
}

var (
	bareName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	userinfo = regexp.MustCompile(`://[^/]*@`)
)

func (d *decoder) document(root *yaml.Node) {
	if root == nil || isNull(root) {
		return
	}
	d.value(root, "", reflect.ValueOf(d.config).Elem())
}

// value reads a node into a field of the configuration.
func (d *decoder) value(n *yaml.Node, key string, into reflect.Value) {
	if !d.isSupported(n, key) || isNull(n) {
		return
	}
	switch p := into.Addr().Interface().(type) {
	case *Secret:
		d.secret(n, key, p)
		return
	case *SigningKey:
		d.signingKey(n, key, p)
		return
	case *tile.Box:
		d.box(n, key, p)
		return
	case *Document:
		d.file(n, key, p)
		return
	case *Shape:
		d.shape(n, key, p)
		return
	case *Names:
		d.names(n, key, p)
		return
	case *DistinctTiles:
		d.distinctTiles(n, key, p)
		return
	}
	if parse := scalarParser(into.Addr().Interface()); parse != nil {
		d.scalar(n, key, parse)
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		target := reflect.New(into.Type().Elem())
		d.value(n, key, target.Elem())
		into.Set(target)
	case reflect.Struct:
		d.section(n, key, into)
	case reflect.Map:
		d.pairs(n, key, into)
	default:
		if isByID(into.Type().Elem()) {
			d.byID(n, key, into)
		} else {
			d.list(n, key, into)
		}
	}
}

// isSupported reports whether a node does without the features of YAML that make a file mean something else
// than it shows, and notes a fault if it does not. Aliases are the worst of them: a few lines can stand for
// more text than fits in memory.
func (d *decoder) isSupported(n *yaml.Node, key string) bool {
	switch {
	case n.Kind == yaml.AliasNode, n.Anchor != "":
		d.addUnread(key, "YAML anchors and aliases are not read", "write the value out; tilesets inherit cache and the role of their store")
	case n.Style&yaml.TaggedStyle != 0:
		d.addUnread(key, "YAML tags are not read", "leave out the !tag")
	default:
		return true
	}
	return false
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// section reads a mapping with known keys. It reads them in the order of the struct, not of the file, so
// that sections come before the tilesets that inherit from them.
func (d *decoder) section(n *yaml.Node, key string, into reflect.Value) {
	fields := fieldsOf(into)
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	values := d.entries(n, key, func(name string) bool {
		if slices.Contains(names, name) {
			return true
		}
		d.unknownKey(n, key, name, names)
		return false
	})
	for _, f := range fields {
		if v, ok := values[f.name]; ok {
			d.value(v, child(key, f.name), f.value)
			d.bounds(child(key, f.name), f)
		}
	}
}

// unknownKey notes a key that is not known. The key that was meant counts as one whose value could not be read: that it is
// missing would be the same fault again.
func (d *decoder) unknownKey(n *yaml.Node, key, name string, names []string) {
	path := child(key, name)
	if over := above(n, name); over != "" && slices.Contains(names, over) {
		d.addUnread(path, "is not a key that tilegate knows", "it belongs under "+over+": indent it")
		d.markUnread(child(key, over))
		return
	}
	d.addUnread(path, "is not a key that tilegate knows", unknownKeyHint(name, names))
	if meant := nearest(name, names); meant != "" && !holds(n, meant) {
		d.markUnread(child(key, meant))
	}
}

// above returns the key before another one of a mapping where it has no value, and the other has or is one: the latter was
// likely meant to be under it. It returns "" for others.
func above(n *yaml.Node, name string) string {
	for i := 2; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name && isNull(n.Content[i-1]) {
			return n.Content[i-2].Value
		}
	}
	return ""
}

// holds reports whether a mapping has a key.
func holds(n *yaml.Node, name string) bool {
	for i := 0; i < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return true
		}
	}
	return false
}

// bounds checks a duration against the min and max of its field's tag.
func (d *decoder) bounds(key string, f field) {
	duration, ok := f.value.Interface().(time.Duration)
	if !ok {
		return
	}
	if text, ok := f.tag.Lookup("min"); ok && duration < mustDuration(text) {
		d.fault(key, fmt.Sprintf("must be at least %s", mustDuration(text)), "")
	}
	if text, ok := f.tag.Lookup("max"); ok && duration > mustDuration(text) {
		d.fault(key, fmt.Sprintf("must be at most %s", mustDuration(text)), "")
	}
}

// mustDuration reads a duration in a tag.
func mustDuration(text string) time.Duration {
	d, err := parseDuration(text)
	if err != nil {
		panic("configs: tag " + text + ": " + err.Error())
	}
	return d
}

// entries returns the values of a mapping by key, and notes where each key stands.
func (d *decoder) entries(n *yaml.Node, key string, known func(name string) bool) map[string]*yaml.Node {
	if n.Kind != yaml.MappingNode {
		hint := ""
		if strings.HasPrefix(n.Value, "arn:") {
			hint = "write {arn: arn:…}"
		}
		d.addUnread(key, "must hold keys, each with a colon and a value", hint)
		return nil
	}
	values := make(map[string]*yaml.Node, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, v := n.Content[i], n.Content[i+1]
		path := child(key, name.Value)
		first, twice := d.positions[path]
		d.setPosition(path, name)
		switch {
		case name.Kind != yaml.ScalarNode:
			d.addUnread(path, "a key must be a plain word", "")
		case name.Value == "<<":
			d.addUnread(path, "YAML merge keys are not read", "write the keys out; tilesets inherit cache and the role of their store")
		case twice:
			d.addUnread(path, fmt.Sprintf("is set a second time; the first is on line %d", first.line), "keep one of them")
			d.positions[path] = first
		case d.isSupported(name, path) && known(name.Value):
			values[name.Value] = v
			if v.Kind == yaml.ScalarNode && v.Value != "" {
				d.setPosition(path, v) // faults of a key point at its value, where it has one
			}
		}
	}
	return values
}

// setPosition notes where a key stands.
func (d *decoder) setPosition(path string, n *yaml.Node) {
	d.positions[path] = position{line: n.Line, column: n.Column}
}

// showValue lets faults of a key show its value in the file, unless that may hold a password.
func (d *decoder) showValue(key string, n *yaml.Node) {
	if at := d.positions[key]; !userinfo.MatchString(n.Value) {
		at.value = n.Value
		d.positions[key] = at
	}
}

// list reads a sequence.
func (d *decoder) list(n *yaml.Node, key string, into reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.addUnread(key, "must be a list", "write [a, b], or one - to a line")
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(n.Content), len(n.Content)))
	for i, v := range n.Content {
		path := element(key, i)
		d.setPosition(path, v)
		d.config.elementDefaults(into.Index(i))
		if isNull(v) {
			d.addUnread(path, "is empty", "")
		}
		d.value(v, path, into.Index(i))
	}
}

// box reads [west, south, east, north].
func (d *decoder) box(n *yaml.Node, key string, into *tile.Box) {
	degrees := []*float64{&into.West, &into.South, &into.East, &into.North}
	if n.Kind != yaml.SequenceNode || len(n.Content) != len(degrees) {
		d.addUnread(key, fmt.Sprintf("must be a list of %d numbers", len(degrees)), "write [west, south, east, north]")
		return
	}
	for i, v := range n.Content {
		d.setPosition(element(key, i), v)
		d.value(v, element(key, i), reflect.ValueOf(degrees[i]).Elem())
	}
}

const (
	maxWindows  = 4
	maxWindow   = 7 * 24 * time.Hour
	maxDistinct = 1_000_000 // tiles in a window
)

// distinctTiles reads a mapping from windows to numbers: {1h: 20000, 24h: 100000}.
func (d *decoder) distinctTiles(n *yaml.Node, key string, into *DistinctTiles) {
	const hint = "write {1h: 20000, 24h: 100000}"
	*into = DistinctTiles{}
	var names []string
	values := d.entries(n, key, func(name string) bool {
		names = append(names, name)
		return true
	})
	for _, name := range names {
		path := child(key, name)
		window, err := parseDuration(name)
		switch _, twice := (*into)[window]; {
		case err != nil || window < time.Minute || window > maxWindow || window%time.Minute != 0:
			d.addUnread(path, "is not a window of whole minutes, 1m to 168h", hint)
			continue
		case twice:
			d.addUnread(path, "is a window that is there already", "keep one of them")
			continue
		}
		var tiles int
		d.value(values[name], path, reflect.ValueOf(&tiles).Elem())
		if tiles < 1 || tiles > maxDistinct {
			d.fault(path, "must be 1 to 1000000 tiles", hint)
		}
		(*into)[window] = tiles
	}
	if len(*into) > maxWindows {
		d.fault(key, fmt.Sprintf("has more than %d windows", maxWindows), "an hour and a day will do")
	}
}

// isByID reports whether a slice of such elements is a mapping by id in the file.
func isByID(t reflect.Type) bool {
	return t == reflect.TypeFor[Tileset]() || t == reflect.TypeFor[File]() || t == reflect.TypeFor[Store]() || t == reflect.TypeFor[Bundle]()
}

// byID reads a mapping by id into a slice, in the order of the file.
func (d *decoder) byID(n *yaml.Node, key string, into reflect.Value) {
	var ids []string
	values := d.entries(n, key, func(id string) bool {
		ids = append(ids, id)
		return true
	})
	ids = slices.DeleteFunc(ids, func(id string) bool {
		over := above(n, id)
		if over == "" || values[id].Kind == yaml.MappingNode {
			return false
		}
		d.addUnread(child(key, id), "must hold keys, each with a colon and a value", "it belongs under "+over+": indent it")
		d.markUnread(child(key, over))
		return true
	})
	into.Set(reflect.MakeSlice(into.Type(), len(ids), len(ids)))
	for i, id := range ids {
		item := into.Index(i)
		d.config.elementDefaults(item)
		d.config.inheritRole(item.Addr().Interface(), d.storeOf(values[id]))
		item.FieldByName("ID").SetString(id)
		d.value(values[id], child(key, id), item)
		if t, ok := item.Addr().Interface().(*Tileset); ok {
			t.Given = givenKeys(values[id])
		}
	}
}

// givenKeys tells which keys of a tileset have a value.
func givenKeys(n *yaml.Node) (g Given) {
	if n.Kind != yaml.MappingNode {
		return g
	}
	known := map[string]*bool{
		"format": &g.Format, "minzoom": &g.MinZoom, "maxzoom": &g.MaxZoom, "bounds": &g.Bounds,
		"name": &g.Name, "attribution": &g.Attribution, "vector_layers": &g.VectorLayers,
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if is := known[n.Content[i].Value]; is != nil {
			*is = !isNull(n.Content[i+1])
		}
	}
	return g
}

// storeOf returns what a tileset or file says of its store. That is read before its other keys, because the role's
// defaults depend on it.
func (d *decoder) storeOf(n *yaml.Node) string {
	if n.Kind != yaml.MappingNode {
		return ""
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if v := n.Content[i+1]; n.Content[i].Value == "store" && v.Kind == yaml.ScalarNode && !isNull(v) {
			name, _ := expand(v.Value, d.lookupEnv) // reported when the key itself is read
			return name
		}
	}
	return ""
}

// pairs reads a mapping with free keys.
func (d *decoder) pairs(n *yaml.Node, key string, into reflect.Value) {
	values := d.entries(n, key, func(string) bool { return true })
	into.Set(reflect.MakeMapWithSize(into.Type(), len(values)))
	for name, v := range values {
		value := reflect.New(into.Type().Elem()).Elem()
		d.value(v, child(key, name), value)
		into.SetMapIndex(reflect.ValueOf(name), value)
	}
}

// scalar reads a single value: it fills in the variables and gives the text to parse.
func (d *decoder) scalar(n *yaml.Node, key string, parse func(text string) (hint string, err error)) {
	if n.Kind != yaml.ScalarNode {
		d.addUnread(key, "must be a single value", "")
		return
	}
	d.showValue(key, n)
	text, err := expand(n.Value, d.lookupEnv)
	if err != nil {
		d.addUnread(key, err.Error(), "")
		return
	}
	if hint, err := parse(text); err != nil {
		d.addUnread(key, err.Error(), hint)
	}
}

// scalarParser returns what turns text into the value that target points at, nil if that is no single value.
func scalarParser(target any) func(text string) (hint string, err error) {
	switch p := target.(type) {
	case *string:
		return set(p, func(s string) (string, error) { return s, nil }, "")
	case *bool:
		return set(p, parseBool, "write true or false")
	case *uint8:
		return set(p, parseZoom, "")
	case *int:
		return set(p, parseCount, "write 128")
	case *float64:
		return set(p, parseNumber, "")
	case *time.Duration:
		return set(p, parseDuration, durationHint)
	case *Size:
		return set(p, parseSize, sizeHint)
	case *Rate:
		return set(p, parseRate, rateHint)
	case *tile.ZoomRange:
		return set(p, parseZoomRange, zoomRangeHint)
	case *netip.Prefix:
		return set(p, parseNetwork, "write 10.0.0.0/8 or 192.0.2.7")
	case *slog.Level:
		return set(p, parseLevel, "known: debug, info, warn, error")
	case *Source:
		return set(p, ParseSource, "")
	}
	return nil
}

// set returns a function that stores at p what parse makes of a text.
func set[T any](p *T, parse func(string) (T, error), hint string) func(string) (string, error) {
	return func(text string) (string, error) {
		v, err := parse(text)
		if err == nil {
			*p = v
		}
		return hint, err
	}
}

func parseBool(text string) (bool, error) {
	switch text {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, errors.New("is neither true nor false")
}

func parseLevel(text string) (slog.Level, error) {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	l, ok := levels[text]
	if !ok {
		return 0, errors.New("is not a level")
	}
	return l, nil
}

func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("is not a network or an address")
	case p != p.Masked():
		return netip.Prefix{}, fmt.Errorf("is an address in %s, and not that network", p.Masked())
	}
	return p, nil
}

// field is one key of a section.
type field struct {
	name  string
	value reflect.Value
	tag   reflect.StructTag
}

// fieldsOf returns the keys of a section. Those of an embedded struct are its own.
func fieldsOf(section reflect.Value) []field {
	var fields []field
	for i := range section.NumField() {
		tag := section.Type().Field(i).Tag
		switch name := tag.Get("yaml"); name {
		case "-", "":
		case ",inline":
			fields = append(fields, fieldsOf(section.Field(i))...)
		default:
			fields = append(fields, field{name: name, value: section.Field(i), tag: tag})
		}
	}
	return fields
}

// unknownKeyHint returns a hint at the key that was probably meant: one that is spelt alike, or the same
// one in the section where it belongs.
func unknownKeyHint(name string, names []string) string {
	if nearest(name, names) == "" {
		var elsewhere []string
		for _, section := range fieldsOf(reflect.ValueOf(Config{})) {
			if section.value.Kind() == reflect.Struct && slices.ContainsFunc(fieldsOf(section.value), func(f field) bool { return f.name == name }) {
				elsewhere = append(elsewhere, child(section.name, name))
			}
		}
		if len(elsewhere) == 1 {
			return fmt.Sprintf("did you mean %s?", strings.Join(elsewhere, ""))
		}
	}
	return didYouMean(name, names)
}
