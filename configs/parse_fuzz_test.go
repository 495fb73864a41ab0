package configs_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tilegate/configs"
)

// FuzzParse: no file makes Parse panic; a refused one has faults in the order of its lines, each in one
// line of its own; and what is accepted keeps the rules that security rests on.
func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range append(seeds, "tilegate.example.yaml") {
		data, err := os.ReadFile(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{minimal, "", "~", "? [a]: b", "a: &a [*a]", "tilesets: {a: {<<: {}}}", "auth:\n  issuers:\n  -\n  - - -", "server: {tls: {? : }}", hmac("HS256", "S"), role("tags: {? a}")} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		// The fuzzer must not be let loose on the machine's files.
		if strings.Contains(string(file), "file") {
			return
		}
		c, err := configs.Parse("tilegate.yaml", file, env("S=0123456789abcdef0123456789abcdef"))
		if err != nil {
			var e *configs.Error
			if !errors.As(err, &e) || len(e.Faults) == 0 {
				t.Fatalf("got %v, want faults", err)
			}
			if !slices.IsSortedFunc(e.Faults, func(a, b configs.Fault) int { return a.Line - b.Line }) {
				t.Errorf("the faults are not in the order of lines:\n%v", err)
			}
			for _, fault := range e.Faults {
				if strings.Contains(fault.String(), "\n") || fault.Line < 1 || fault.Column < 1 || fault.Problem == "" {
					t.Errorf("got %q at %d:%d", fault, fault.Line, fault.Column)
				}
			}
			return
		}
		for _, issuer := range c.Auth.Issuers {
			if len(issuer.Algorithms) == 0 || slices.Contains(issuer.Algorithms, "none") || issuer.HMAC() && issuer.JWKSURL != "" {
				t.Errorf("accepted issuer %+v", issuer)
			}
		}
		for _, tileset := range c.Tilesets {
			if len(c.Auth.Issuers)+len(c.Auth.SigningKeys)+len(c.CDN.OriginSecrets) == 0 && !tileset.Public {
				t.Errorf("accepted tileset %s without a way in", tileset.ID)
			}
		}
	})
}
