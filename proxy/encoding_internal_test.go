package proxy

import "testing"

func TestAcceptsGzip(t *testing.T) {
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
			if got := acceptsGzip(test.fields); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
