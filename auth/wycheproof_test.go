package auth_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/c2sp/wycheproof"

	"tilegate/auth"
)

// refusedByProfile are vectors that Wycheproof calls valid and tilegate refuses, by number.
var refusedByProfile = map[string]map[int]string{
	"json_web_signature_test.json": {
		346: "RFC 7520 Figure 20 signs with PS384 under a key marked PS256: a key is used for its own algorithm alone",
		347: "the key is marked ES521, which is no algorithm of RFC 7518",
		350: "as 346", 351: "as 347",
		372: "the header holds a character that base64url has not; RFC 7515 section 2 leaves no room for it",
		373: "the payload does, likewise",
	},
	"json_web_key_test.json": {
		2: "symmetric keys in a key set are never used: whoever reads the set could sign",
	},
	"json_web_crypto_test.json": {
		48: "as json_web_key_test 2",
	},
}

// mislabelled vectors are called invalid, and are byte for byte the valid vector 357: what made
// them invalid, padding, was lost when the file was written.
var mislabelled = map[string]map[int]int{"json_web_signature_test.json": {367: 357, 370: 357}}

type wycheproofFile struct {
	TestGroups []struct {
		Private, Public json.RawMessage
		Tests           []struct {
			TcID    int
			Comment string
			Result  string
			JWS     json.RawMessage
		}
	}
}

func TestWycheproof(t *testing.T) {
	for file, least := range map[string]int{"json_web_signature_test.json": 401, "json_web_key_test.json": 26, "json_web_crypto_test.json": 49} {
		t.Run(file, func(t *testing.T) {
			data, err := fs.ReadFile(wycheproof.TestVectors, file)
			if err != nil {
				t.Fatal(err)
			}
			var vectors wycheproofFile
			if err := json.Unmarshal(data, &vectors); err != nil {
				t.Fatal(err)
			}
			tokens, run := map[int]string{}, 0
			for _, group := range vectors.TestGroups {
				for _, v := range group.Tests {
					if v.JWS == nil {
						continue // JWE, which we do not speak
					}
					run++
					var token string
					if json.Unmarshal(v.JWS, &token) != nil {
						token = string(v.JWS) // an object: JSON serialization
					}
					tokens[v.TcID] = token
					accepted := verifyVector(t, group.Public, group.Private, token)
					reason, exempt := refusedByProfile[file][v.TcID]
					twin, wrong := mislabelled[file][v.TcID]
					switch {
					case wrong:
						if token != tokens[twin] {
							t.Errorf("%d: is not the same as %d any more", v.TcID, twin)
						}
					case v.Result == "invalid" && accepted:
						t.Errorf("%d (%s): invalid, and accepted", v.TcID, v.Comment)
					case v.Result == "valid" && !accepted && !exempt:
						t.Errorf("%d (%s): valid, and refused", v.TcID, v.Comment)
					case accepted && exempt:
						t.Errorf("%d (%s): accepted, though listed as refused: %s", v.TcID, v.Comment, reason)
					}
				}
			}
			if run < least {
				t.Errorf("ran %d vectors, want %d", run, least)
			}
		})
	}
}

// verifyVector gives the vector's key to an issuer in the only way in which tilegate takes its
// kind: a public key in a key set, a lone symmetric key as the configured secret.
func verifyVector(t *testing.T, public, private json.RawMessage, token string) bool {
	t.Helper()
	material := public
	if material == nil {
		material = private
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(material, &set); err != nil {
		t.Fatal(err)
	}
	if set.Keys == nil {
		set.Keys = []json.RawMessage{material}
	}
	document, err := json.Marshal(map[string]any{"keys": set.Keys})
	if err != nil {
		t.Fatal(err)
	}
	algorithms := append(slices.Clone(auth.AllAlgorithms), "HS256", "HS384", "HS512")
	_, err = auth.VerifyWithKeySet(document, algorithms, token)
	accepted := err == nil

	var jwk struct{ Kty, Alg, K string }
	if err := json.Unmarshal(set.Keys[0], &jwk); err != nil {
		t.Fatal(err)
	}
	if jwk.Kty == "oct" {
		if accepted {
			t.Error("a symmetric key of a key set was used")
		}
		if len(set.Keys) == 1 {
			secret, err := base64.RawURLEncoding.DecodeString(jwk.K)
			if err != nil {
				t.Fatal(fmt.Errorf("k: %w", err))
			}
			_, err = auth.VerifyWithSecret(secret, jwk.Alg, token)
			accepted = err == nil
		}
	}
	return accepted
}
