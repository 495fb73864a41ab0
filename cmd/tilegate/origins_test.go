package main

import (
	"slices"
	"testing"

	"tilegate/configs"
	"tilegate/internal/tile"
)

// Each source is read from the store that it names, with that store's keys; the default store keeps its own.
func TestStoresReachTheOrigin(t *testing.T) {
	env := map[string]string{"ID": "AKIA", "KEY": "secret", "TOKEN": "token"}
	c, err := configs.Parse("tilegate.yaml", []byte(`auth: {issuers: [{issuer: "https://id.example.com/", audience: [tiles], algorithms: [RS256]}]}
aws: {region: eu-central-1, request_payer: true, credentials: {profile: tiles}}
stores:
  wasabi:
    endpoint: https://s3.eu-central-2.wasabisys.com
    sts_endpoint: https://sts.wasabisys.com
    region: eu-central-2
    path_style: true
    credentials: {access_key_id: {env: ID}, secret_access_key: {env: KEY}, session_token: {env: TOKEN}}
    role: {arn: "arn:aws:iam::123456789012:role/wasabi"}
  open: {region: us-west-2, anonymous: true}
tilesets:
  base: {public: true, source: "s3://tiles/base/{z}/{x}/{y}.png", region: us-east-1}
  roads: {public: true, source: "s3://tiles/roads/{z}/{x}/{y}.png", store: wasabi}
  relief: {public: true, source: "s3://tiles/relief/{z}/{x}/{y}.png", store: open}
files:
  doc: {source: "s3://docs/doc.pdf", store: wasabi, region: eu-central-3, role: {arn: "arn:aws:iam::123456789012:role/docs"}}
`), func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	if err != nil {
		t.Fatal(err)
	}
	o := originOptions(c)
	if s := o.Store; s.Name != "" || s.Region != "eu-central-1" || !s.RequestPayer || s.Profile != "tiles" || s.Anonymous {
		t.Errorf("default store: got %+v", s)
	}
	wasabi, open := o.Stores[0], o.Stores[1]
	if wasabi.Name != "wasabi" || wasabi.Endpoint != "https://s3.eu-central-2.wasabisys.com" || wasabi.STSEndpoint != "https://sts.wasabisys.com" ||
		wasabi.Region != "eu-central-2" || !wasabi.PathStyle || wasabi.AccessKeyID != "AKIA" || wasabi.SecretAccessKey != "secret" || wasabi.SessionToken != "token" {
		t.Errorf("wasabi: got %+v", wasabi)
	}
	if open.Name != "open" || open.Region != "us-west-2" || !open.Anonymous || open.AccessKeyID != "" {
		t.Errorf("open: got %+v", open)
	}
	for i, want := range []struct{ id, store, region, arn string }{
		{"base", "", "us-east-1", ""},
		{"roads", "wasabi", "", "arn:aws:iam::123456789012:role/wasabi"},
		{"relief", "open", "", ""},
		{"file:doc", "wasabi", "eu-central-3", "arn:aws:iam::123456789012:role/docs"},
	} {
		if s := o.Sources[i]; s.ID != want.id || s.Store != want.store || s.Region != want.region || s.Role.ARN != want.arn {
			t.Errorf("got %q, %q, %q, %q, want %+v", s.ID, s.Store, s.Region, s.Role.ARN, want)
		}
	}
}

// All tiles of an archive are in its one object, which is all that a policy for it names.
func TestArchivesReachTheOrigin(t *testing.T) {
	c, err := configs.Parse("tilegate.yaml", []byte(`aws: {region: eu-central-1, role: {arn: "arn:aws:iam::123456789012:role/tiles"}}
tilesets:
  roads: {public: true, source: "s3://tiles/a/roads.pmtiles", vend: true, missing_on_403: false}
  again: {public: true, source: "s3://tiles/a/roads.pmtiles", vend: true}
  names: {public: true, source: "s3://tiles/{z}/{x}/{y}", format: mvt, vend: true}
  world: {public: true, source: "s3://tiles/{z}/{x}/{y}.png", vend: true}
  deep: {public: true, source: "s3://tiles/1/2/3.pmtiles", vend: true}
`), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	o := originOptions(c)
	for i, want := range []struct {
		id, key, mode string
		overlaps      []string
	}{
		{"roads", "a/roads.pmtiles", "false", []string{"again"}},
		{"again", "a/roads.pmtiles", "auto", []string{"roads"}},
		{"names", "", "auto", []string{"world", "deep"}},
		{"world", "", "auto", nil},
		{"deep", "1/2/3.pmtiles", "auto", nil},
	} {
		s := o.Sources[i]
		if s.ID != want.id || !slices.Equal(s.Overlaps, want.overlaps) || s.MissingOn403 != missingOn403[want.mode] {
			t.Errorf("got %q, %v, %d, want %+v", s.ID, s.Overlaps, s.MissingOn403, want)
		}
		if s.Archive != (want.key != "") {
			t.Errorf("%s: Archive is %t", s.ID, s.Archive)
		}
		if !s.Archive {
			continue
		}
		if s.Prefix != want.key || !slices.Equal(s.Literals, []string{want.key}) || s.Match != nil || s.ZoomFolder != nil {
			t.Errorf("%s: got prefix %q and literals %q", s.ID, s.Prefix, s.Literals)
		}
		for _, k := range []tile.Key{{}, s.Canary, {Z: 7, X: 3, Y: 5, Scale: 2}, {Path: "metadata.json"}} {
			if got := s.Key(k); got != want.key {
				t.Errorf("%s: the key of %v is %q", s.ID, k, got)
			}
		}
	}
}
