package configs_test

import (
	"fmt"
	"strings"
	"testing"
)

// A store has aws's keys and defaults, and takes nothing from aws. Tilesets and files take their role from their store,
// wherever in the file the store stands.
func TestStores(t *testing.T) {
	c := parse(t, minimalAuth+`
tilesets:
  first: {source: "s3://acme-a/{z}/{x}/{y}.png", store: wasabi, role: {duration: 2h}}
  second: {source: "s3://acme-b/{z}/{x}/{y}.png", region: us-east-1}
  third: {source: "s3://acme-c/{z}/{x}/{y}.png", store: "${STORE}"}
files:
  doc: {source: s3://docs/a.pdf, store: wasabi, region: eu-central-3}
  own: {source: s3://docs/b.pdf, role: {arn: "arn:aws:iam::123456789012:role/docs"}}
stores:
  wasabi:
    endpoint: https://s3.eu-central-2.wasabisys.com
    sts_endpoint: https://sts.wasabisys.com
    credentials: {access_key_id: {env: ID}, secret_access_key: {env: KEY}, session_token: {env: TOKEN}}
    role: {arn: "arn:aws:iam::123456789012:role/wasabi", web_identity_token_file: token}
  open: {region: us-west-2, anonymous: true}
  paying: {region: us-east-1, request_payer: true, credentials: {profile: payer}}
aws: {region: eu-central-1, role: {arn: "arn:aws:iam::123456789012:role/tiles", tags: {app: tiles}}}
`, "ID=AKIA", "KEY=secret", "TOKEN=token", "STORE=open")
	for i, want := range []struct {
		store, region, arn, duration string
		tags                         int
	}{
		{"wasabi", "", "arn:aws:iam::123456789012:role/wasabi", "2h0m0s", 0},
		{"", "us-east-1", "arn:aws:iam::123456789012:role/tiles", "1h0m0s", 1},
		{"open", "", "", "1h0m0s", 0},
	} {
		got := c.Tilesets[i]
		if got.Store != want.store || got.Region != want.region || got.Role.ARN != want.arn || got.Role.Duration.String() != want.duration || len(got.Role.Tags) != want.tags {
			t.Errorf("%s: got %q, %q, %+v, want %+v", got.ID, got.Store, got.Region, got.Role, want)
		}
	}
	if f := c.Files[0]; f.Store != "wasabi" || f.Region != "eu-central-3" || f.Role.ARN != "arn:aws:iam::123456789012:role/wasabi" || !strings.HasSuffix(f.Role.WebIdentityTokenFile, "token") {
		t.Errorf("doc: got %+v", f)
	}
	if f := c.Files[1]; f.Role.ARN != "arn:aws:iam::123456789012:role/docs" || f.Role.Tags["app"] != "tiles" {
		t.Errorf("own: got %+v", f)
	}
	wasabi := c.Store("wasabi")
	if wasabi.Region != "" || wasabi.Role.SessionName != "tilegate" || !wasabi.Role.ScopeDown || string(wasabi.Credentials.SecretAccessKey.Bytes()) != "secret" || string(wasabi.Credentials.SessionToken.Bytes()) != "token" {
		t.Errorf("wasabi: got %+v", wasabi)
	}
	if open := c.Store("open"); !open.Anonymous || open.RequestPayer {
		t.Errorf("open: got %+v", open)
	}
	if paying := c.Store("paying"); !paying.RequestPayer || paying.Credentials.Profile != "payer" {
		t.Errorf("paying: got %+v", paying)
	}
	if c.Store("") != &c.AWS.Store || c.Store("other") != nil {
		t.Error("Store finds another store than the one asked for")
	}
}

// The example of the documentation is valid.
func TestStoresOfTheReference(t *testing.T) {
	doc := reference(t)
	_, example, _ := strings.Cut(doc[strings.Index(doc, "\n## stores\n"):], "```yaml\n")
	example, _, _ = strings.Cut(example, "```")
	c := parse(t, example)
	if len(c.Stores) != 3 || c.Tilesets[0].Store != "wasabi" {
		t.Errorf("got %+v", c.Stores)
	}
}

func TestFaultsOfStores(t *testing.T) {
	const role = `role: {arn: "arn:aws:iam::123456789012:role/a"}`
	for _, tc := range []struct {
		name, file, key, problem string
	}{
		{"store that is unknown", minimal + "    store: wasab # !\nstores: {wasabi: {region: a}}", "tilesets.basemap.store", "is not under stores; did you mean wasabi?"},
		{"the default store by name", minimal + "    store: aws # !", "tilesets.basemap.store", "leave it out"},
		{"a file's store", minimal + "files: {doc: {source: s3://docs/a, store: other}} # !", "files.doc.store", "is not under stores"},
		{"store twice", minimal + "stores:\n  a: {region: a}\n  a: {region: b} # !", "stores.a", "is set a second time"},
		{"store named aws", minimal + "stores:\n  aws: # !\n    region: a", "stores.aws", "is the name of the store that the section aws describes"},
		{"store named default", minimal + "stores:\n  default: # !\n    region: a", "stores.default", "is the name of the store"},
		{"store that is no id", minimal + "stores:\n  Wasabi: # !\n    region: a", "stores.Wasabi", "is not an id"},
		{"timeouts of a store", minimal + "stores: {a: {timeouts: {progress: 1s}}} # !", "stores.a.timeouts", "is not a key that tilegate knows"},
		{"region of a store", minimal + "stores: {a: {region: 'EU west'}} # !", "stores.a.region", "is not a region"},
		{"region of a tileset", minimal + "    region: EU # !", "tilesets.basemap.region", "is not a region"},
		{"region of a file", minimal + "files: {doc: {source: s3://docs/a, region: EU}} # !", "files.doc.region", "is not a region"},
		{"endpoint of a store", minimal + "stores: {a: {endpoint: minio}} # !", "stores.a.endpoint", "not an absolute http or https URL"},
		{"a secret in the file", minimal + "aws: {credentials: {access_key_id: {env: LONG}, secret_access_key: abc}} # !", "aws.credentials.secret_access_key", "is not written into the configuration"},
		{"a key without its secret", minimal + "stores: {a: {credentials: {access_key_id: {env: LONG}}}} # !", "stores.a.credentials.secret_access_key", "is required with access_key_id"},
		{"a secret without its key", minimal + "stores: {a: {credentials: {secret_access_key: {env: LONG}}}} # !", "stores.a.credentials.access_key_id", "is required with secret_access_key"},
		{"a token alone", minimal + "stores: {a: {credentials: {session_token: {env: LONG}}}} # !", "stores.a.credentials.access_key_id", "is required with session_token"},
		{"a profile and a key", minimal + "stores: {a: {credentials: {profile: b, access_key_id: {env: LONG}, secret_access_key: {env: LONG}}}} # !", "stores.a.credentials.profile", "excludes an access key"},
		{"anonymous with a profile", minimal + "stores: {a: {anonymous: true, credentials: {profile: b}}} # !", "stores.a.anonymous", "excludes credentials"},
		{"anonymous with a role", minimal + "aws: {anonymous: true, " + role + "} # !", "aws.anonymous", "excludes a role"},
		{"anonymous that pays", minimal + "stores: {a: {anonymous: true, request_payer: true}} # !", "stores.a.anonymous", "excludes request_payer"},
		{"a tileset's role in an anonymous store", minimal + "    store: a\n    " + role + " # !\nstores: {a: {anonymous: true}}", "tilesets.basemap.role", "needs a store that is not anonymous"},
		{"a role of a store", minimal + "stores: {a: {role: {arn: tiles}}} # !", "stores.a.role.arn", "is not a role's ARN"},
		{"a role of a file", minimal + "files: {doc: {source: s3://docs/a, role: {arn: tiles}}} # !", "files.doc.role.arn", "is not a role's ARN"},
		{"a role without an ARN", minimal + "stores: {a: {role: {duration: 2h}}} # !", "stores.a.role.arn", "is required by the other keys"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			line := 1 + strings.Count(tc.file[:strings.Index(tc.file, "# !")], "\n")
			got := faults(t, tc.file, "LONG=0123456789abcdef")
			if len(got) != 1 || got[0].Line != line || got[0].Key != tc.key || !strings.Contains(got[0].Problem+"; "+got[0].Hint, tc.problem) {
				t.Errorf("got %v, want line %d: %s: %s", got, line, tc.key, tc.problem)
			}
		})
	}
}

// The access keys of stores are secrets like others: no output and no fault shows them.
func TestAccessKeysStayHidden(t *testing.T) {
	const file = "stores: {a: {credentials: {access_key_id: {env: ID}, secret_access_key: {env: KEY}, session_token: {env: TOKEN}}}}\n"
	pairs := []string{"ID=hidden-id", "KEY=hidden-key", "TOKEN=hidden-token"}
	c := parse(t, minimal+file, pairs...)
	shown := fmt.Sprintf("%+v %#v %v", c, c.Stores, c.Stores[0].Credentials)
	for _, f := range faults(t, minimal+strings.Replace(file, "credentials: {", "anonymous: true, credentials: {profile: b, ", 1), pairs...) {
		shown += f.String()
	}
	if strings.Contains(shown, "hidden-") {
		t.Errorf("the output shows a credential: %s", shown)
	}
}
