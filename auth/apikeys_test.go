package auth_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tilegate/auth"
)

// newKey makes a key, and its line.
func newKey(t testing.TB, change func(*auth.APIKey)) (text string, line []byte) {
	t.Helper()
	k := auth.APIKey{Name: "shop", Limits: auth.Limits{Tilesets: []string{"basemap"}}}
	if change != nil {
		change(&k)
	}
	text, line, err := auth.NewAPIKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return text, line
}

func idOf(text string) string { return strings.Split(text, "_")[1] }

// keyFile writes a file of lines.
func keyFile(t testing.TB, lines ...[]byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys.jsonl")
	writeKeys(t, path, lines...)
	return path
}

func writeKeys(t testing.TB, path string, lines ...[]byte) {
	t.Helper()
	if err := os.WriteFile(path, bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
}

// withKeys is an Authenticator that knows the keys in a file.
func withKeys(t testing.TB, path string, change func(*auth.Options)) (*auth.Authenticator, *clock, signer) {
	t.Helper()
	c, s := newClock(), rsaSigner("")
	o := testOptions(c, s)
	o.APIKeys, o.QueryParameter = path, "key"
	if change != nil {
		change(&o)
	}
	return newAuth(t, o), c, s
}

const apiKey = "X-Api-Key"

func TestAPIKeyTransports(t *testing.T) {
	text, line := newKey(t, nil)
	a, _, s := withKeys(t, keyFile(t, line), nil)
	access := s.token(claims(map[string]any{"sub": "access"}))
	session, _ := newSession(t, a, authenticate(t, a, access))
	subject, cookie := "key:"+idOf(text), "__Host-tilegate="+session.Token
	for _, tt := range []struct {
		name    string
		headers []string
		path    string
		query   string
		subject string // "" with want nil: an InvalidError
		want    error
	}{
		{name: "header", headers: []string{apiKey, text}, subject: subject},
		{name: "basic, any name", headers: []string{"Authorization", basic("qgis", text)}, subject: subject},
		{name: "path", path: text, subject: subject},
		{name: "query", query: "key=" + text, subject: subject},

		{name: "Authorization before X-API-Key", headers: []string{"Authorization", "Bearer " + access, apiKey, text}, subject: "access"},
		{name: "X-API-Key before path, query and cookie", headers: []string{apiKey, text, "Cookie", cookie}, path: "x", query: "key=x", subject: subject},
		{name: "path before query and cookie", headers: []string{"Cookie", cookie}, path: text, query: "key=x", subject: subject},
		{name: "query before cookie", headers: []string{"Cookie", cookie}, query: "key=" + text, subject: subject},

		{name: "bad Authorization beside a good key", headers: []string{"Authorization", "Bearer x", apiKey, text}},
		{name: "bad key beside a good cookie", headers: []string{apiKey, text + "A", "Cookie", cookie}},
		{name: "empty key beside a good cookie", headers: []string{apiKey, "", "Cookie", cookie}},
		{name: "bad key in the path beside a good one in the query", path: text[:20], query: "key=" + text},
		{name: "key as bearer", headers: []string{"Authorization", "Bearer " + text}},
		{name: "key as the name of Basic", headers: []string{"Authorization", basic(text, "")}},
		{name: "key as cookie", headers: []string{"Cookie", "__Host-tilegate=" + text}},
		{name: "access token as a key", headers: []string{apiKey, access}},
		{name: "session as a key", headers: []string{apiKey, session.Token}},
		{name: "key with another scheme", headers: []string{"Authorization", "ApiKey " + text}},

		{name: "two keys", headers: []string{apiKey, text, apiKey, text}, want: auth.ErrTwoCredentials},
		{name: "two keys, one empty", headers: []string{apiKey, "", apiKey, text}, want: auth.ErrTwoCredentials},
		{name: "two keys in the query", query: "key=" + text + "&key=" + text, want: auth.ErrMalformed},
		{name: "key in a Referer", headers: []string{"Referer", "https://tiles.example.com/?key=" + text}, want: auth.ErrNoCredential},
		{name: "key in another parameter", query: "api_key=" + text, want: auth.ErrNoCredential},
		{name: "key in another header", headers: []string{"X-Key", text}, want: auth.ErrNoCredential},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := request(tt.headers...)
			r.URL.RawQuery = tt.query
			g, err := a.Authenticate(r, tt.path)
			switch {
			case tt.subject != "":
				if err != nil || g.Subject != tt.subject {
					t.Errorf("got %+v, %v, want the grant of %q", g, err, tt.subject)
				}
			case tt.want != nil:
				if !errors.Is(err, tt.want) {
					t.Errorf("got %v, want %v", err, tt.want)
				}
			default:
				wantInvalid(t, err, "")
			}
			if err != nil && strings.Contains(err.Error(), text[20:]) {
				t.Errorf("the error tells the key: %v", err)
			}
		})
	}
}

// Without a file of keys nothing takes one, and the header of another service's keys is nobody's business.
func TestAPIKeysAreOffUnlessConfigured(t *testing.T) {
	text, _ := newKey(t, nil)
	a, access, _, _ := transports(t)
	if _, err := a.Authenticate(request(apiKey, text), ""); !errors.Is(err, auth.ErrNoCredential) {
		t.Errorf("got %v", err)
	}
	if _, err := a.Authenticate(request(apiKey, "x", apiKey, "y", "Authorization", "Bearer "+access), ""); err != nil {
		t.Error(err)
	}
	_, err := a.Authenticate(request(), text)
	wantInvalid(t, err, unverifiable)
	_, err = a.Authenticate(request("Authorization", basic("", text)), "")
	wantInvalid(t, err, "malformed")
}

func TestAPIKeyGrantsWhatItsLineSays(t *testing.T) {
	text, line := newKey(t, func(k *auth.APIKey) {
		k.Limits = auth.Limits{Tilesets: []string{"acme-*", "file:report"}, Zoom: zooms(0, 12)}
		k.Expires = start.Add(time.Hour)
	})
	a, c, _ := withKeys(t, keyFile(t, line), nil)
	r := request(apiKey, text)
	g, err := a.Authenticate(r, "")
	if err != nil {
		t.Fatal(err)
	}
	if got := seen(g); got != viewer+" report" || g.Kind != auth.Key || g.ID != "key:"+idOf(text) || !g.Expires.Equal(start.Add(time.Hour).Truncate(time.Second)) {
		t.Errorf("got %s, %+v", got, g)
	}
	// It makes nothing that could outlive it, or be used elsewhere.
	if _, err := a.NewSession(g); !errors.Is(err, auth.ErrWrongKind) {
		t.Errorf("a session: got %v", err)
	}
	if _, _, err := a.NewPathToken(g, auth.PathRequest{}); !errors.Is(err, auth.ErrWrongKind) {
		t.Errorf("a path token: got %v", err)
	}
	// Changing its secret, or its id, makes another key.
	for _, forged := range []string{
		text[:len(text)-1], text + "A", strings.ToLower(text), "tg_" + idOf(text) + "_", "tg__" + text[16:], "tg_" + idOf(text),
		strings.Replace(text, idOf(text), "aaaaaaaaaaaa", 1), "TG" + text[2:], " " + text, text + " ", text + strings.Repeat("A", 200), "tg_", "tg_*_",
	} {
		_, err := a.Authenticate(request(apiKey, forged), "")
		wantInvalid(t, err, "")
	}
	c.Advance(time.Hour + time.Second)
	_, err = a.Authenticate(r, "")
	wantInvalid(t, err, "the API key expired")
}

func TestAPIKeyIsRevokedBySubjectToo(t *testing.T) {
	text, line := newKey(t, nil)
	a, _, _ := withKeys(t, keyFile(t, line), nil)
	if err := a.Revoke(auth.Revocation{Subject: "key:" + idOf(text)}); err != nil {
		t.Fatal(err)
	}
	_, err := a.Authenticate(request(apiKey, text), "")
	wantInvalid(t, err, "revoked")
}

func TestAPIKeyOrigins(t *testing.T) {
	text, line := newKey(t, func(k *auth.APIKey) {
		k.Origins = []string{"https://shop.example.com", "https://*.shops.example.org", "http://localhost:3000", "capacitor://localhost"}
	})
	a, _, _ := withKeys(t, keyFile(t, line), nil)
	for _, tt := range []struct {
		name    string
		headers []string
		ok      bool
	}{
		{"its origin", []string{"Origin", "https://shop.example.com"}, true},
		{"a subdomain", []string{"Origin", "https://a.b.shops.example.org"}, true},
		{"a port", []string{"Origin", "http://localhost:3000"}, true},
		{"an app", []string{"Origin", "capacitor://localhost"}, true},
		{"an image's Referer", []string{"Referer", "https://shop.example.com/"}, true},
		{"a Referer with a path", []string{"Referer", "https://shop.example.com/maps?x=y"}, true},
		{"a Referer with the scheme's own port", []string{"Referer", "https://SHOP.example.com:443/maps"}, true},

		{"spoofed by absence", nil, false},
		{"spoofed by null", []string{"Origin", "null"}, false},
		{"null beside a good Referer", []string{"Origin", "null", "Referer", "https://shop.example.com/"}, false},
		{"empty beside a good Referer", []string{"Origin", "", "Referer", "https://shop.example.com/"}, false},
		{"another origin beside a good Referer", []string{"Origin", "https://evil.example", "Referer", "https://shop.example.com/"}, false},
		{"two origins", []string{"Origin", "https://evil.example", "Origin", "https://shop.example.com"}, false},
		{"two origins in one", []string{"Origin", "https://shop.example.com https://evil.example"}, false},
		{"two Referers", []string{"Referer", "https://evil.example/", "Referer", "https://shop.example.com/"}, false},
		{"another scheme", []string{"Origin", "http://shop.example.com"}, false},
		{"another port", []string{"Origin", "https://shop.example.com:8443"}, false},
		{"another port on loopback", []string{"Origin", "http://localhost:3001"}, false},
		{"a name that begins alike", []string{"Origin", "https://shop.example.com.evil.example"}, false},
		{"a name that ends alike", []string{"Origin", "https://evilshop.example.com"}, false},
		{"the wildcard's own domain", []string{"Origin", "https://shops.example.org"}, false},
		{"a wildcard's subdomain over http", []string{"Origin", "http://a.shops.example.org"}, false},
		{"a wildcard's subdomain with a port", []string{"Origin", "https://a.shops.example.org:80"}, false},
		{"an origin that is none", []string{"Origin", "https://evil.example:80.shops.example.org"}, false},
		{"an origin with a user", []string{"Origin", "https://evil.example@a.shops.example.org"}, false},
		{"an origin with a path", []string{"Origin", "https://shop.example.com/"}, false},
		{"an origin with a fragment", []string{"Origin", "https://evil.example#.shops.example.org"}, false},
		{"the wildcard itself", []string{"Origin", "https://*.shops.example.org"}, false},
		{"an empty label", []string{"Origin", "https://.shops.example.org"}, false},
		{"a Referer with a user", []string{"Referer", "https://shop.example.com@evil.example/"}, false},
		{"a Referer that only holds it", []string{"Referer", "https://evil.example/https://shop.example.com/"}, false},
		{"a Referer that is no URL", []string{"Referer", "shop.example.com"}, false},
		{"a Referer with a backslash", []string{"Referer", `https://evil.example\@shop.example.com/`}, false},
		{"data", []string{"Referer", "data:text/html,https://shop.example.com"}, false},
		{"X-Forwarded-Host", []string{"X-Forwarded-Host", "shop.example.com", "X-Forwarded-Proto", "https"}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for name, r := range map[string]*http.Request{
				"header": request(append([]string{apiKey, text}, tt.headers...)...), "path": request(tt.headers...),
			} {
				path := ""
				if name == "path" {
					path = text
				}
				_, err := a.Authenticate(r, path)
				if tt.ok && err != nil || !tt.ok && !errors.Is(err, auth.ErrWrongOrigin) {
					t.Errorf("%s: got %v", name, err)
				}
			}
		})
	}
	// Where the secret is wrong, nothing is told of the origins.
	_, err := a.Authenticate(request(apiKey, text+"A"), "")
	wantInvalid(t, err, "no such API key")
}

func TestValidOrigin(t *testing.T) {
	for origin, want := range map[string]bool{
		"https://shop.example.com": true, "https://shop.example.com:8443": true, "http://localhost:3000": true, "capacitor://localhost": true,
		"https://*.example.com": true, "https://*.a.example.com": true, "https://[::1]": true,
		"": false, "*": false, "null": false, "https://*": false, "https://*.com": false, "https://*.co.uk": false, "https://*.vercel.app": false,
		"http://*.example.com": false, "https://a.*.example.com": false, "https://shop.example.com/": false, "https://shop.example.com?": false,
		"https://Shop.example.com": false, "https://shop.example.com:443": false, "https://u@shop.example.com": false, "shop.example.com": false,
		"https://*.example.com:8443": false, "https://": false, "https://shop.example.com\n": false,
	} {
		if got := auth.ValidOrigin(origin); got != want {
			t.Errorf("%q: got %t", origin, got)
		}
	}
}

func TestAPIKeyAddresses(t *testing.T) {
	text, line := newKey(t, func(k *auth.APIKey) {
		k.IPs = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	})
	path := keyFile(t, line)
	plain, _, _ := withKeys(t, path, nil)
	proxied, _, _ := withKeys(t, path, func(o *auth.Options) {
		o.ClientAddress = func(r *http.Request) netip.Addr { return netip.MustParseAddr(r.Header.Get("X-Test-Client")) }
	})
	for address, ok := range map[string]bool{
		"192.0.2.7:1234": true, "[::ffff:192.0.2.7]:1234": true, "[2001:db8::1]:1": true,
		"192.0.3.7:1234": false, "[2001:db9::1]:1": false, "@": false, "": false, "192.0.2.7": false,
	} {
		r := request(apiKey, text, "X-Forwarded-For", "192.0.2.7")
		r.RemoteAddr = address
		if _, err := plain.Authenticate(r, ""); ok && err != nil || !ok && !errors.Is(err, auth.ErrWrongAddress) {
			t.Errorf("%s: got %v", address, err)
		}
	}
	for address, ok := range map[string]bool{"192.0.2.7": true, "198.51.100.1": false} {
		if _, err := proxied.Authenticate(request(apiKey, text, "X-Test-Client", address), ""); (err == nil) != ok {
			t.Errorf("%s behind a proxy: got %v", address, err)
		}
	}
}

func TestAPIKeyFileIsReadStrictly(t *testing.T) {
	text, line := newKey(t, nil)
	id := idOf(text)
	with := func(old, new string) []byte { return []byte(strings.Replace(string(line), old, new, 1)) }
	for _, tt := range []struct {
		name string
		file []byte
		want string // in the error; "": read
	}{
		{"empty", nil, ""},
		{"empty lines, and a last one without its end", append([]byte("\n  \n"), bytes.TrimSpace(line)...), ""},
		{"a key and its revocation", append(bytes.Clone(line), auth.RevocationLine(id)...), ""},
		{"a revocation before its key", append(auth.RevocationLine(id), line...), ""},
		{"a revocation twice", append(auth.RevocationLine(id), auth.RevocationLine(id)...), ""},
		{"an id twice", append(bytes.Clone(line), line...), "line 2 has the id of key 1"},
		{"a member twice", with(`{`, `{"tilesets":["*"],`), "line 1 is not one strict JSON object"},
		{"a member twice, escaped", with(`{`, `{"tileset\u0073":["*"],`), "line 1 is not one strict JSON object"},
		{"a member in another case", with(`{`, `{"Disabled":true,`), "not known: Disabled"},
		{"a member that is misspelt", with(`{`, `{"origin":["https://a.example"],`), "not known: origin"},
		{"a member that is null", with(`{`, `{"origins":null,`), "a origins that is null"},
		{"a member of another type", with(`{`, `{"disabled":"yes",`), "of the wrong type"},
		{"two objects on a line", append(bytes.TrimSpace(line), line...), "line 1 is not one strict JSON object"},
		{"half a line", line[:len(line)/2], "line 1 is not one strict JSON object"},
		{"an array", append(append([]byte("["), bytes.TrimSpace(line)...), "]\n"...), "line 1 is not one strict JSON object"},
		{"no origins that are listed", with(`{`, `{"origins":[],`), "has origins that name none"},
		{"no ips that are listed", with(`{`, `{"ips":[],`), "has ips that name none"},
		{"an origin of all", with(`{`, `{"origins":["*"],`), "has an origin, the 1., that is none"},
		{"an address that is none", with(`{`, `{"ips":["192.0.2.7/24"],`), "ips that are not networks"},
		{"a zoom that is none", with(`{`, `{"zoom":"",`), "a zoom that is no range"},
		{"a zoom reversed", with(`{`, `{"zoom":"9-1",`), "a zoom that is no range"},
		{"a bbox of three", with(`{`, `{"bbox":[1,2,3],`), "a bbox that is not"},
		{"a bbox that is empty", with(`{`, `{"bbox":[],`), "a bbox that is not"},
		{"a date that is none", with(`{`, `{"expires":"tomorrow",`), "a date, expires,"},
		{"a date that is empty", with(`{`, `{"expires":"",`), "a date, expires,"},
		{"no tilesets", with(`["basemap"]`, `[]`), "grants no tilesets"},
		{"a tileset that is none", with(`["basemap"]`, `["../x"]`), "entry 1 is not the id"},
		{"an id of more than one line", with(id, `a\nb`), "no id of lower-case"},
		{"a short hash", with(`"sha256":"`, `"sha256":"00`), "no sha256 of 64"},
		{"no hash", with(`"sha256"`, `"name"`), ""},
		{"a revocation of nobody", []byte(`{"revoke":""}`), "is no revocation"},
		{"a revocation and more", []byte(`{"revoke":"a","id":"b"}`), "is no revocation"},
		{"a revocation of several", []byte(`{"revoke":["a"]}`), "is no revocation"},
		{"nested without end", []byte(`{"tilesets":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`), "line 1 is not one strict JSON object"},
		{"too large", bytes.Repeat([]byte("\n"), 4<<20+1), "is larger than 4 MiB"},
	} {
		if tt.name == "no hash" {
			tt.want = "line 1" // the name twice, or no hash
		}
		t.Run(tt.name, func(t *testing.T) {
			keys, err := auth.ParseAPIKeys(tt.file, nil)
			if tt.want == "" {
				if err != nil {
					t.Errorf("got %v", err)
				}
				for _, k := range keys {
					if revoked := bytes.Contains(tt.file, []byte("revoke")); k.Disabled != revoked {
						t.Errorf("disabled: %t, want %t", k.Disabled, revoked)
					}
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), id) {
				t.Errorf("the error quotes the file: %v", err)
			}
			o := testOptions(newClock(), rsaSigner(""))
			o.APIKeys = keyFile(t, tt.file)
			if _, err := auth.New(o); err == nil || !strings.HasPrefix(err.Error(), "auth.api_keys.file: ") {
				t.Errorf("New: got %v", err)
			}
		})
	}
}

func FuzzAPIKeys(f *testing.F) {
	_, line := newKey(f, func(k *auth.APIKey) { k.Origins, k.Zoom = []string{"https://a.example"}, zooms(1, 2) })
	f.Add(line)
	f.Add(append(line, auth.RevocationLine("a")...))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, err := auth.ParseAPIKeys(data, nil)
		for _, k := range keys {
			if err != nil || k.ID == "" || len(k.Tilesets) == 0 || k.Validate() != nil {
				t.Errorf("got %+v, %v", k, err)
			}
			for _, origin := range k.Origins {
				if !auth.ValidOrigin(origin) {
					t.Errorf("got origin %q", origin)
				}
			}
		}
	})
}

// logged is a log that another goroutine writes. A bubble's clock orders the two, but the race detector does
// not know that.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// take returns what has been written since the last time.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.text.Reset()
	return l.text.String()
}

// running runs test in a bubble, with a running Authenticator and its log.
func running(t *testing.T, path string, test func(t *testing.T, a *auth.Authenticator, log *logged)) {
	synctest.Test(t, func(t *testing.T) {
		var log logged
		a := newAuth(t, auth.Options{APIKeys: path, Logger: slog.New(slog.NewTextHandler(&log, nil)), SigningKeys: [][]byte{make([]byte, 32)}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- a.Run(ctx) }()
		test(t, a, &log)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// second lets what is due within a second of a change happen.
func second() {
	pass(time.Second)
	synctest.Wait()
}

func TestRevokedAPIKeyStopsWithinASecond(t *testing.T) {
	text, line := newKey(t, nil)
	other, otherLine := newKey(t, nil)
	path := keyFile(t, line, otherLine)
	running(t, path, func(t *testing.T, a *auth.Authenticator, _ *logged) {
		ok := func(key string, want bool) {
			t.Helper()
			if _, err := a.Authenticate(request(apiKey, key), ""); (err == nil) != want {
				t.Errorf("%s: got %v", idOf(key), err)
			}
		}
		ok(text, true)
		writeKeys(t, path, line, otherLine, auth.RevocationLine(idOf(text)))
		second()
		ok(text, false)
		ok(other, true)
		writeKeys(t, path, line) // by hand: no longer revoked, and the other one is gone
		second()
		ok(text, true)
		ok(other, false)
		disabled := bytes.Replace(line, []byte("{"), []byte(`{"disabled":true,`), 1)
		writeKeys(t, path, disabled)
		second()
		ok(text, false)
		// Another change of the same size and time: only the content tells.
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		enabled := bytes.Replace(disabled, []byte("true,"), []byte("false,"), 1)
		writeKeys(t, path, bytes.TrimSuffix(enabled, []byte("\n")))
		if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
			t.Fatal(err)
		}
		second()
		ok(text, true)
	})
}

// A file that cannot be used changes nothing, is told, and takes effect once it is whole again.
func TestBrokenAPIKeyFileKeepsTheLastGoodOne(t *testing.T) {
	text, line := newKey(t, nil)
	path := keyFile(t, line)
	running(t, path, func(t *testing.T, a *auth.Authenticator, log *logged) {
		for name, breakIt := range map[string]func(){
			"half a line": func() { writeKeys(t, path, line[:len(line)/2]) },
			"gone":        func() { _ = os.Remove(path) },
			"a directory": func() {
				_ = os.Remove(path)
				_ = os.Mkdir(path, 0o700)
			},
		} {
			breakIt()
			second()
			second()
			if _, err := a.Authenticate(request(apiKey, text), ""); err != nil {
				t.Errorf("%s: got %v", name, err)
			}
			if degraded := a.Degraded(); len(degraded) != 1 || !strings.HasPrefix(degraded[0], "API keys: ") || strings.Contains(degraded[0], path) {
				t.Errorf("%s: degraded %q", name, degraded)
			}
			if a.NotReady() != nil {
				t.Errorf("%s: not ready", name)
			}
			if said := log.take(); strings.Count(said, "level=WARN") != 1 {
				t.Errorf("%s: want one warning in\n%s", name, said)
			}
			_ = os.Remove(path)
			writeKeys(t, path, line)
			second()
			if degraded := a.Degraded(); degraded != nil {
				t.Errorf("%s, mended: degraded %q", name, degraded)
			}
			log.take()
		}
	})
}

func TestAPIKeyFileMayComeLater(t *testing.T) {
	text, line := newKey(t, nil)
	path := filepath.Join(t.TempDir(), "keys.jsonl")
	running(t, path, func(t *testing.T, a *auth.Authenticator, log *logged) {
		second()
		_, err := a.Authenticate(request(apiKey, text), "")
		if said := log.take(); err == nil || a.Degraded() != nil || said != "" {
			t.Errorf("got %v, %q, %s", err, a.Degraded(), said)
		}
		writeKeys(t, path, line)
		second()
		if _, err := a.Authenticate(request(apiKey, text), ""); err != nil {
			t.Error(err)
		}
	})
}

func TestNewAPIKeyRefusesWhatItCouldNotRead(t *testing.T) {
	for name, k := range map[string]auth.APIKey{
		"no tilesets":  {},
		"bad tileset":  {Limits: auth.Limits{Tilesets: []string{"A"}}},
		"bad origin":   {Limits: auth.Limits{Tilesets: []string{"a"}}, Origins: []string{"*"}},
		"name of 65":   {Limits: auth.Limits{Tilesets: []string{"a"}}, Name: strings.Repeat("x", 65)},
		"line break":   {Limits: auth.Limits{Tilesets: []string{"a"}}, Name: "a\nb"},
		"65 addresses": {Limits: auth.Limits{Tilesets: []string{"a"}}, IPs: make([]netip.Prefix, 65)},
	} {
		if text, line, err := auth.NewAPIKey(k); err == nil || text != "" || line != nil {
			t.Errorf("%s: got %v", name, err)
		}
	}
	first, line := newKey(t, nil)
	second, _ := newKey(t, nil)
	if first == second || len(first) < 60 || bytes.Contains(line, []byte(first[16:])) || strings.ContainsAny(first, "/.+= ") {
		t.Errorf("got %q, %q, %s", first, second, line)
	}
}
