package configs_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"

	"tilegate/configs"
)

// TestSecretInAnyOutput: no way to print a configuration shows a secret.
func TestSecretInAnyOutput(t *testing.T) {
	const secret = "5ecret-0123456789"
	c := parse(t, minimal+"server: {admin_token: {env: TOKEN}}\ncdn: {origin_secrets: [{env: TOKEN}]}", "TOKEN="+secret)
	token := c.Server.AdminToken
	if string(token.Bytes()) != secret {
		t.Fatalf("got %q", token.Bytes())
	}
	hidden := struct{ token configs.Secret }{token} // fmt does not ask the methods of unexported fields
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T"} {
		for _, value := range []any{c, *c, token, &token, c.CDN.OriginSecrets, hidden, &hidden} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
	}
	for _, marshal := range []func(any) ([]byte, error){
		json.Marshal,
		func(v any) ([]byte, error) { return yaml.Dump(v) },
	} {
		data, err := marshal(map[string]any{"config": c.CDN.OriginSecrets, "token": token})
		if err != nil {
			t.Fatal(err)
		}
		out.Write(data)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("message", "token", token, "server", c.Server, "config", c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("message", "token", token, "server", c.Server)
	out.WriteString(token.String() + token.GoString())

	for _, form := range []string{secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), strings.Trim(fmt.Sprintf("%d", []byte(secret)), "[]")} {
		if strings.Contains(out.String(), form) {
			t.Errorf("the output holds the secret as %q", form)
		}
	}
	if !strings.Contains(out.String(), "(secret from environment variable TOKEN)") {
		t.Error("the output does not tell where the secret comes from")
	}
}

// TestSecretInFaults: no fault shows a secret, a variable's value or a password in a URL.
func TestSecretInFaults(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2"
	for name, file := range map[string]string{
		"literal":                   minimal + "server: {admin_token: " + secret + "}",
		"literal in a list":         "auth: {signing_keys: [" + secret + "]}\n" + minimalTilesets,
		"variable in a duration":    minimal + "cache: {fresh: '${SECRET}'}",
		"variable in a URL":         minimal + "server: {public_url: '${SECRET}'}",
		"variable in an id's place": minimal + "cdn: {tilesets: ['${SECRET}']}",
		"variable as a fallback":    minimal + "cache: {fresh: '${UNSET:-}${SECRET}'}",
		"signing key":               "auth: {signing_keys: [{env: SECRET}]}\n" + minimalTilesets,
		"HMAC secret":               hmac("HS256", "SECRET"),
		"password in a URL":         minimal + "aws: {endpoint: 'https://user:" + secret + "@example.com'}",
		"password in a bad URL":     minimal + "aws: {endpoint: 'https://user:" + secret + "@exa mple.com'}",
		"password in the source":    source("s3://user:" + secret + "@acme/{z}/{x}/{y}.png"),
		"syntax error":              "auth: {signing_keys: [\"" + secret + "]}\n",
		"scalar where keys belong":  "auth: " + secret + "\n" + minimalTilesets,
	} {
		t.Run(name, func(t *testing.T) {
			for _, f := range faults(t, file, "SECRET="+secret) {
				if strings.Contains(f.String(), "hunter2") || strings.Contains(fmt.Sprintf("%+v", f), "hunter2") {
					t.Errorf("the fault shows the secret: %s", f)
				}
			}
		})
	}
}

// TestInjectionByVariable: a variable's value stays one value, whatever it looks like.
func TestInjectionByVariable(t *testing.T) {
	for _, value := range []string{
		"a\n  basemap: {public: true}", "a, public: true", "a\", public: true, x: \"", "*anchor", "!!binary a", "${OTHER}", "# comment", "null", "",
	} {
		c := parse(t, minimal+"    attribution: \"x${VALUE}y\"\n", "VALUE="+value, "OTHER=other")
		if got := c.Tilesets[0].Attribution; got != "x"+value+"y" {
			t.Errorf("got %q, want %q", got, "x"+value+"y")
		}
		if c.Tilesets[0].Public || len(c.Tilesets) != 1 {
			t.Errorf("%q changes the structure", value)
		}
	}
}

func TestVariables(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"none", "plain $ { } text", "plain $ { } text"},
		{"set", "a${SET}b", "avalueb"},
		{"twice", "${SET}${SET}", "valuevalue"},
		{"empty", "a${EMPTY}b", "ab"},
		{"default for unset", "${UNSET:-fallback}", "fallback"},
		{"default for empty", "${EMPTY:-fallback}", "fallback"},
		{"default not needed", "${SET:-fallback}", "value"},
		{"empty default", "a${UNSET:-}b", "ab"},
		{"default with colons", "${UNSET:-http://a:-b}", "http://a:-b"},
		{"escaped", "$${SET}", "${SET}"},
		{"escaped, then not", "$${SET}${SET}", "${SET}value"},
		{"dollar at the end", "${SET}$", "value$"},
		{"dollars at the end", "$$", "$$"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := parse(t, minimal+"    attribution: '"+tc.text+"'\n", "SET=value", "EMPTY=")
			if got := c.Tilesets[0].Attribution; got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestBillionLaughs: aliases are refused where they stand, not expanded.
func TestBillionLaughs(t *testing.T) {
	var b strings.Builder
	b.WriteString("a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n")
	for i := 1; i <= 30; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	b.WriteString("server: {cors: {origins: *a30}}\n")
	var found bool
	for _, f := range faults(t, minimal+b.String()) {
		found = found || f.Key == "server.cors.origins" && strings.Contains(f.Problem, "aliases are not read")
	}
	if !found {
		t.Error("the alias is not refused")
	}
}

// TestNestingWithoutEnd: brackets in brackets are refused before the stack runs out.
func TestNestingWithoutEnd(t *testing.T) {
	for _, open := range []string{"[", "{a: ", "- "} {
		got := faults(t, strings.Repeat(open, 1<<16/len(open)))
		if len(got) != 1 || !strings.Contains(got[0].Problem, "max depth") {
			t.Errorf("%q: got %v", open, got)
		}
	}
}

// TestForgedLines: what a file holds cannot pose as another line of the report.
func TestForgedLines(t *testing.T) {
	for _, f := range faults(t, minimal+"\"a\\ntilegate.yaml:1:1: all is well\": 1\naws: {region: \"b\\nall is well\\x1b[2J\"}\n") {
		if strings.ContainsAny(f.String(), "\n\x1b") {
			t.Errorf("got %q", f.String())
		}
	}
}
