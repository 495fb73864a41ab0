package proxy

import "testing"

func TestAccepts(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields []string
		want   bool
	}{
		{"absent", nil, false},
		{"empty", []string{""}, false},
		{"gzip", []string{"gzip"}, true},
		{"browser", []string{"gzip, deflate, br, zstd"}, true},
		{"x-gzip", []string{"x-gzip"}, true},
		{"upper case", []string{"GZIP"}, true},
		{"second field", []string{"br", "gzip"}, true},
		{"identity alone", []string{"identity"}, false},
		{"refused", []string{"gzip;q=0"}, false},
		{"refused with digits", []string{"gzip; q=0.000"}, false},
		{"refused though all else goes", []string{"gzip;q=0, *"}, false},
		{"refused after all else", []string{"*, gzip;q=0"}, false},
		{"anything", []string{"*"}, true},
		{"nothing", []string{"*;q=0"}, false},
		{"weighted", []string{"gzip;q=0.1, identity;q=1"}, true},
		{"malformed weight", []string{"gzip;q=x"}, false},
		{"another name that contains it", []string{"notgzip"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := accepts(test.fields, "gzip"); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestAcceptsTheCodingThatIsStored(t *testing.T) {
	for _, test := range []struct {
		field, coding string
		want          bool
	}{
		{"gzip, deflate, br, zstd", "br", true},
		{"gzip, deflate, br, zstd", "zstd", true},
		{"gzip, deflate", "br", false},
		{"gzip, br;q=0, *", "br", false},
		{"*", "zstd", true},
		{"x-gzip", "deflate", false},
	} {
		if got := accepts([]string{test.field}, test.coding); got != test.want {
			t.Errorf("%q, %s: got %v, want %v", test.field, test.coding, got, test.want)
		}
	}
}

func TestStoredCoding(t *testing.T) {
	for _, test := range []struct {
		field, coding, odd string
		ok                 bool
	}{
		{"", "", "", true},
		{"gzip", "gzip", "", true},
		{"GZIP ", "gzip", "", true},
		{"x-gzip", "gzip", "", true},
		{"identity", "", "", true},
		{"UTF-8", "", "utf-8", true},
		{"none", "", "none", true},
		{"binary", "", "binary", true},
		{"base64", "", "base64", true},
		{"utf-8, gzip", "gzip", "utf-8", true},
		{"br", "br", "", true},
		{"zstd", "zstd", "", true},
		{"deflate", "deflate", "", true},
		{"gzip, br", "", "", false},
		{"gzip, gzip", "", "", false},
		{"compress", "", "", false},
		{"x-compress", "", "", false},
		{"aes128gcm", "", "", false},
	} {
		if coding, odd, ok := storedCoding(test.field); coding != test.coding || odd != test.odd || ok != test.ok {
			t.Errorf("%q: got %q, %q, %v, want %q, %q, %v", test.field, coding, odd, ok, test.coding, test.odd, test.ok)
		}
	}
}
