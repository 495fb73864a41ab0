package proxy

import (
	"encoding/json"
	"testing"
	"time"
)

var anyTime = time.Unix(1700000000, 0).UTC()

// Whatever a request says of itself, its line is one line of valid JSON, and says the same.
func FuzzAccessLogLineIsJSON(f *testing.F) {
	for _, s := range []string{"", "plain", "a\"b\\c", "line\nbreak\r\t\x00\x1b[31m", "ü\u2028😀", "\xff\xfe", `","level":"ERROR","x":"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := lineEncoder{}
		e.begin(new(accessLog).second(anyTime), 0, false)
		e.str("path", s)
		e.num("status", 200)
		e.micros("duration_ms", 1234567*time.Nanosecond)
		e.yes("aborted")
		line := e.end()
		var got struct {
			Path     string
			Status   int
			Duration float64 `json:"duration_ms"`
			Aborted  bool
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		want := string([]rune(s[:min(len(s), maxLogged)]))
		if got.Path != want || got.Status != 200 || got.Duration != 1.234 || !got.Aborted {
			t.Errorf("got %+v, want path %q", got, want)
		}
		for i, c := range line[:len(line)-1] {
			if c < 0x20 || c >= 0x7f {
				t.Fatalf("byte %d of %q is not printable ASCII", i, line)
			}
		}
	})
}

func TestAccessLogTextQuotesWhatCouldForgeAField(t *testing.T) {
	e := lineEncoder{text: true}
	e.begin(new(accessLog).second(anyTime), 5e6, false)
	e.str("a", "plain/path.png")
	e.str("b", "x status=200")
	e.str("c", "")
	e.yes("d")
	const want = `time=2023-11-14T22:13:20.005Z level=INFO msg=request a=plain/path.png b="x status=200" c="" d=true` + "\n"
	if got := string(e.end()); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
