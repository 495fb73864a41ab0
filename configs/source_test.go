package configs_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"tilegate/configs"
)

func ExampleSource_Object() {
	source, err := configs.ParseSource("s3://acme-tiles/basemap/{z}/{x}/{y}@{scale}x.png")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(source.Bucket, source.Prefix(), source.Scalable())
	fmt.Println(source.Object(7, 66, 44, 1))
	fmt.Println(source.Object(7, 66, 44, 2))
	// Output:
	// acme-tiles basemap/ true
	// basemap/7/66/44.png
	// basemap/7/66/44@2x.png
}

func TestSourceObject(t *testing.T) {
	for _, tc := range []struct {
		template   string
		z          uint8
		x, y       uint32
		scale      uint8
		want       string
		wantPrefix string
	}{
		{"{z}/{x}/{y}.png", 0, 0, 0, 1, "0/0/0.png", ""},
		{"a/{z}/{x}/{y}.png", 30, 1<<30 - 1, 1<<30 - 1, 1, "a/30/1073741823/1073741823.png", "a/"},
		{"a/{z}/{x}/{-y}.png", 0, 0, 0, 1, "a/0/0/0.png", "a/"},
		{"a/{z}/{x}/{-y}.png", 7, 66, 44, 1, "a/7/66/83.png", "a/"},
		{"a/{z}/{x}/{-y}.png", 30, 0, 0, 1, "a/30/0/1073741823.png", "a/"},
		// https://learn.microsoft.com/en-us/bingmaps/articles/bing-maps-tile-system: tile (3,5) of level 3.
		{"q{q}.png", 3, 3, 5, 1, "q213.png", "q"},
		{"q{q}.png", 1, 1, 1, 1, "q3.png", "q"},
		{"{z}-{y}-{x}-{y}", 3, 1, 2, 1, "3-2-1-2", ""},
		{"{scale}/{z}/{x}/{y}.png", 3, 1, 2, 1, "1/3/1/2.png", ""},
		{"{scale}/{z}/{x}/{y}.png", 3, 1, 2, 3, "3/3/1/2.png", ""},
		{"{z}/{x}/{y}@{scale}x.png", 3, 1, 2, 1, "3/1/2.png", ""},
		{"{z}/{x}/{y}@{scale}x.png", 3, 1, 2, 2, "3/1/2@2x.png", ""},
		{"{z}/{x}/{y}@{scale}.png", 3, 1, 2, 1, "3/1/2@1.png", ""},
		{"L{z:02}/R{y:08x}/C{x:08x}.png", 6, 50, 31, 1, "L06/R0000001f/C00000032.png", "L"}, // ArcGIS's exploded cache
		{"{z}/{x:03}/{y:03}.png", 12, 12, 345, 1, "12/012/345.png", ""},
		{"{z}/{x:03}/{-y:03}.png", 12, 1234, 4095, 1, "12/1234/000.png", ""}, // a width never cuts a number
		{"{z}/{x:010}/{y:02x}", 30, 1<<30 - 1, 1<<30 - 1, 1, "30/1073741823/3fffffff", ""},
		{"a b/%41/{z}/{x}/{y}", 3, 1, 2, 1, "a b/%41/3/1/2", "a b/%41/"},
	} {
		t.Run(tc.want, func(t *testing.T) {
			s, err := configs.ParseSource("s3://acme/" + tc.template)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Object(tc.z, tc.x, tc.y, tc.scale); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			if got := s.Prefix(); got != tc.wantPrefix {
				t.Errorf("prefix: got %q, want %q", got, tc.wantPrefix)
			}
		})
	}
}

func TestParseSource(t *testing.T) {
	for _, tc := range []struct{ source, want string }{
		{"", "is not s3://bucket/key"},
		{"acme/{z}/{x}/{y}.png", "is not s3://bucket/key"},
		{"S3://acme/{z}/{x}/{y}.png", "is not s3://bucket/key"},
		{"s3://", "names no valid bucket"},
		{"s3:///{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://ac/{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://_acme/{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://arn:aws:s3:eu-central-1:123456789012:accesspoint/tiles", "names no key"},
		{"s3://arn:aws:s3:eu-central-1:123456789012:bucket/tiles/{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://arn:aws:s3::123456789012:accesspoint/tiles.mrap/{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://Acme/{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://acme-/{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://{z}/{x}/{y}.png", "names no valid bucket"},
		{"s3://acme", "names no key"},
		{"s3://acme/", "names no key"},
		{"s3://acme/../{z}/{x}/{y}.png", "has a . or .. segment"},
		{"s3://acme/a/./{z}/{x}/{y}.png", "has a . or .. segment"},
		{"s3://acme/a\n/{z}/{x}/{y}.png", "control character"},
		{"s3://acme/{z}/{x}/{y", "has a brace without its partner"},
		{"s3://acme/{z}/{x}/y}", "has a brace without its partner"},
		{"s3://acme/{z}/{x}/{{y}}", "has a brace without its partner"},
		{"s3://acme/{zoom}/{x}/{y}", "has {zoom}, which is no placeholder"},
		{"s3://acme/{z}/{x}/{}", "has {}, which is no placeholder"},
		{"s3://acme/{z}/{y}", "does not tell tiles apart"},
		{"s3://acme/{x}/{y}", "does not tell tiles apart"},
		{"s3://acme/{scale}.png", "does not tell tiles apart"},
		{"s3://acme/{z}{x}/{y}", "has nothing between {x} and the number before it"},
		{"s3://acme/{z}/{x}0{y}", "has nothing between {y}"},
		{"s3://acme/{z}/{x}@{scale}x{y}", "has nothing between {y}"},
		{"s3://acme/{z}/{x}/{y}{scale}.png", "has nothing between {scale}"},
		{"s3://acme/{z}/{x:3}/{y}", "has {x:3}, which is no placeholder"},
		{"s3://acme/{z}/{x:00}/{y}", "has {x:00}, which is no placeholder"},
		{"s3://acme/{z}/{x:011}/{y}", "has {x:011}, which is no placeholder"},
		{"s3://acme/{z}/{x:08X}/{y}", "has {x:08X}, which is no placeholder"},
		{"s3://acme/{z}/{q:08}", "has {q:08}, which is no placeholder"},
		{"s3://acme/{z}/{x:03}{y:03}", "has nothing between {y}"}, // column 1000 has four digits
		{"s3://acme/{z}/{x:08x}ff{y}", "has nothing between {y}"},
		{"s3://acme/{z}/{x}a{y:08x}", "has nothing between {y}"},
		{"s3://acme/" + strings.Repeat("a", 1001) + "{z}/{x}/{y}", "more than 1024 bytes"},
	} {
		if _, err := configs.ParseSource(tc.source); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: got %v, want %s", tc.source, err, tc.want)
		}
	}
}

func TestSourceLiterals(t *testing.T) {
	for key, want := range map[string]string{
		"base/{z}/{x}/{y}.png":           "base/*/*/*.png",
		"{z}/{x}/{y}@{scale}x.png":       "*/*/*.png",
		"{q}":                            "*",
		"a/{z}/{x}/{y}@{scale}x":         "a/*/*/*",
		"roads.pmtiles":                  "roads.pmtiles",
		"{z}/public/{x}/{-y}.{scale}.ö*": "*/public/*/*.*.ö*",
	} {
		s, err := configs.ParseSource("s3://acme/" + key)
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		if got := strings.Join(s.Literals(), "*"); got != want {
			t.Errorf("%s: got %s, want %s", key, got, want)
		}
	}
}

func TestSourceOverlaps(t *testing.T) {
	for _, tc := range []struct {
		name, vended, other string
		want                bool
	}{
		{"itself", "a/{z}/{x}/{y}.png", "a/{z}/{x}/{y}.png", true},
		{"beside each other", "a/{z}/{x}/{y}.png", "b/{z}/{x}/{y}.png", false},
		{"one name begins the other", "a/{z}/{x}/{y}.png", "ab/{z}/{x}/{y}.png", false},
		{"beneath it", "base/{z}/{x}/{y}.png", "base/hires/{z}/{x}/{y}.png", true},
		{"above it", "base/hires/{z}/{x}/{y}.png", "base/{z}/{x}/{y}.png", false},
		{"beneath it, another extension", "base/{z}/{x}/{y}.png", "base/hires/{z}/{x}/{y}.webp", false},
		{"names behind the zoom", "{z}/public/{x}/{y}.png", "{z}/secret/{x}/{y}.png", false},
		{"names behind the zoom, deeper", "{z}/public/{x}/{y}.png", "{z}/public/secret/{x}/{y}.png", true},
		{"a name at the end", "{z}/{x}/{y}.png", "{z}/{x}/{y}.labels.png", true},
		{"two names at the end", "{z}/{x}/{y}a.png", "{z}/{x}/{y}b.png", false},
		{"a letter before the zoom", "t/z{z}/{x}/{y}.png", "t/{z}/{x}/{y}.png", false},
		{"a digit before the zoom", "t/1{z}/{x}/{y}.png", "t/{z}/{x}/{y}.png", true},
		{"a number in a name", "t/7/{z}/{x}/{y}.png", "t/{z}/{x}/{-y}/{scale}.png", true},
		{"no number is empty", "t/{z}//{x}/{y}.png", "t/{z}/{x}/{y}/{scale}.png", false},
		{"scales", "t/{z}/{x}/{y}@2x.png", "t/{z}/{x}/{y}@{scale}x.png", true},
		{"scales of another", "t/{z}/{x}/{y}-labels.png", "t/{z}/{x}/{y}@{scale}x.png", false},
		{"quadkeys", "{q}.png", "q/{q}.png", true},
		{"a width that fits", "t/{z}/{x}/{y}.png", "t/{z:02}/{x:03}/{y}.png", true},
		{"a width that is too long for a name", "t/12/{x}/{q}", "t/{z:03}/{x}/{y}", false},
		{"hexadecimal names", "t/{z}/ff/{q}.png", "t/{z}/{y:02x}/{x:02x}.png", true},
		{"names that are not hexadecimal", "t/{z}/fg/{q}.png", "t/{z}/{y:02x}/{x:02x}.png", false},
		{"letters beyond ASCII", "ä/{z}/{x}/{y}.png", "ö/{z}/{x}/{y}.png", false},
		{"a star of its own", "a*/{z}/{x}/{y}.png", "ab/{z}/{x}/{y}.png", false},
		{"a file in the way", "{z}/{x}/{y}.png", "2026/11/plan.png", true},
		{"a file beside", "{z}/{x}/{y}.png", "2026/plan.png", false},
		{"an archive", "{z}/{x}/{y}", "a/b/c.pmtiles", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parse := func(bucket, key string) configs.Source {
				s, err := configs.ParseSource("s3://" + bucket + "/" + key)
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			if got := parse("acme", tc.vended).Overlaps(parse("acme", tc.other)); got != tc.want {
				t.Errorf("got %t, want %t", got, tc.want)
			}
			if parse("acme", tc.vended).Overlaps(parse("other", tc.other)) {
				t.Error("it opens keys of another bucket")
			}
		})
	}
}

func BenchmarkSourceObject(b *testing.B) {
	s, err := configs.ParseSource("s3://acme-tiles/basemap/{z}/{x}/{y}.png")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Object(14, 8000, 5000, 1)
	}
}

// FuzzSource: whatever template is accepted, two tiles never share an object, and every key is one
// that S3 takes.
func FuzzSource(f *testing.F) {
	for _, template := range []string{
		"{z}/{x}/{y}.png", "{q}", "a{z}a{x}b{-y}", "{z}/{x}/{y}@{scale}x.png", "{z}x{scale}x{x}x{y}", "{z}1{x}", "@{scale}x{z}/{x}/{y}", "{q}/{z}", "a.pmtiles",
		"L{z:02}/R{y:08x}/C{x:08x}.png", "{z}-{x:03}-{y:02x}", "{z:01x}g{x:01x}g{y}", "{z}a{x:02x}a{y}",
	} {
		f.Add(template, uint64(1))
	}
	f.Fuzz(func(t *testing.T, template string, seed uint64) {
		s, err := configs.ParseSource("s3://acme/" + template)
		if err != nil || s.Object(1, 0, 0, 1) == s.Object(1, 1, 1, 1) {
			if err == nil && strings.ContainsAny(template, "{}") {
				t.Fatalf("%q: different tiles share an object", template)
			}
			return
		}
		random := rand.New(rand.NewPCG(seed, 0))
		type tile struct {
			z, scale uint8
			x, y     uint32
		}
		seen := map[string]tile{}
		for range 200 {
			// Small numbers, so that those of one and of two digits meet.
			at := tile{z: uint8(1 + random.UintN(13)), scale: 1}
			at.x, at.y = random.Uint32N(1<<min(at.z, 7)), random.Uint32N(1<<min(at.z, 7))
			if s.Scalable() {
				at.scale = uint8(1 + random.UintN(3))
			}
			key := s.Object(at.z, at.x, at.y, at.scale)
			if other, ok := seen[key]; ok && other != at {
				t.Fatalf("%q: %v and %v share the object %q", template, at, other, key)
			}
			seen[key] = at
			if len(key) == 0 || len(key) > 1024 {
				t.Fatalf("%q: the key has %d bytes", template, len(key))
			}
		}
	})
}

func TestSourceOfAnAccessPoint(t *testing.T) {
	const arn = "arn:aws:s3:eu-central-1:123456789012:accesspoint/tiles"
	s, err := configs.ParseSource("s3://" + arn + "/base/{z}/{x}/{y}.png")
	if err != nil || s.Bucket != arn || s.Key != "base/{z}/{x}/{y}.png" || s.Object(1, 0, 1, 1) != "base/1/0/1.png" {
		t.Errorf("got bucket %q, key %q, %v", s.Bucket, s.Key, err)
	}
	if s, err := configs.ParseSource("s3://acme_tiles/{z}/{x}/{y}.png"); err != nil || s.Bucket != "acme_tiles" {
		t.Errorf("a bucket with _: got %q, %v", s.Bucket, err)
	}
}
