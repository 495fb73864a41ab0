package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
	"tilegate/internal/pmtiles"
	"tilegate/internal/testenv"
	"tilegate/internal/worldmap"
)

// besideCountries are keys that a wildcard or a prefix in a policy for maps/countries.pmtiles would open.
var besideCountries = []string{"maps/secret.pmtiles", "maps/countries.pmtiles.bak", "maps/countries.pmtiles/secret", "maps/countries", "countries.pmtiles"}

// vendingArchive is a configuration that hands out credentials for one archive of two.
func vendingArchive(t *testing.T, endpoint string) (path string) {
	t.Helper()
	return vendingOf(t, endpoint, `
  countries: {vend: true, source: "s3://tiles/maps/countries.pmtiles"}
  secret: {source: "s3://tiles/maps/secret.pmtiles"}
`)
}

// wantArchiveAlone wants credentials to read maps/countries.pmtiles by ranges, and to do nothing else in the bucket.
func wantArchiveAlone(t *testing.T, client *s3.Client) {
	t.Helper()
	get := func(key string) error {
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: &key, Range: aws.String("bytes=0-126")})
		if err == nil {
			_ = out.Body.Close()
		}
		return err
	}
	if err := get("maps/countries.pmtiles"); err != nil {
		t.Errorf("the archive that is granted: %v", err)
	}
	for _, key := range besideCountries {
		if err := get(key); errorCode(err) != "AccessDenied" {
			t.Errorf("%s: got %v, want AccessDenied", key, err)
		}
	}
	for _, prefix := range []string{"", "maps/", "maps/countries.pmtiles"} {
		if _, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles"), Prefix: &prefix}); errorCode(err) != "AccessDenied" {
			t.Errorf("listing %q: got %v, want AccessDenied", prefix, err)
		}
	}
	put := &s3.PutObjectInput{Bucket: aws.String("tiles"), Key: aws.String("maps/countries.pmtiles"), Body: strings.NewReader("x")}
	if _, err := client.PutObject(t.Context(), put); errorCode(err) != "AccessDenied" {
		t.Errorf("replacing the archive: got %v, want AccessDenied", err)
	}
}

// POST /credentials for an archive asks STS for a policy that names the one key, even if the grant is for everything.
func TestVendedPolicyOfAnArchiveNamesItsOneKey(t *testing.T) {
	bucket := privateBucket(t)
	for _, key := range append([]string{"maps/countries.pmtiles"}, besideCountries...) {
		bucket.Put("tiles", key, fakeaws.Object{Body: archiveOf(t, pmtiles.WriteOptions{TileType: pmtiles.MVT})})
	}
	config := vendingArchive(t, bucket.URL())
	server, _ := start(t, baseCredentials(testKey, testSecret), "serve", "-c", config)
	for _, grant := range []string{"countries", "countries,secret", "*"} {
		bucket.ResetRequests()
		v := vend(t, server, mintToken(t, config, "--tilesets", grant))
		var policies []string
		for _, r := range bucket.Requests() {
			if r.Op == "AssumeRole" && r.Form.Get("RoleSessionName") == "test" {
				policies = append(policies, r.Form.Get("Policy"))
			}
		}
		if len(policies) != 1 {
			t.Fatalf("%s: got %d sessions in the caller's name, want 1", grant, len(policies))
		}
		var policy struct {
			Statement []struct {
				Effect           string
				Action, Resource any
				Condition        any
			}
		}
		if err := json.Unmarshal([]byte(policies[0]), &policy); err != nil {
			t.Fatalf("%s: %v", policies[0], err)
		}
		const key = "arn:aws:s3:::tiles/maps/countries.pmtiles"
		if s := policy.Statement; len(s) != 1 || s[0].Effect != "Allow" || one(s[0].Action) != "s3:GetObject" || one(s[0].Resource) != key {
			t.Errorf("%s: got the policy %s, want s3:GetObject of %s alone", grant, policies[0], key)
		}
		wantArchiveAlone(t, s3Client(bucket.URL(), v.provider()))
	}
	answer, body := send(t, http.MethodPost, server.url+"/credentials", "", "Authorization", "Bearer "+mintToken(t, config, "--tilesets", "secret"))
	if answer.StatusCode != http.StatusForbidden {
		t.Errorf("an archive without vend: got %s %s", answer.Status, body)
	}
}

// one is a member of a policy that is a text, or a list of one.
func one(member any) string {
	if list, ok := member.([]any); ok && len(list) == 1 {
		member = list[0]
	}
	s, _ := member.(string)
	return s
}

// shell runs a script of a page, and returns what it prints.
func shell(t *testing.T, script string, env ...string) (out string, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Dir = t.TempDir()
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "AWS_") }), env...)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// GDAL opens an archive of a real S3 by the commands of docs/archives.md, and with the same credentials nothing else.
func TestVendedCredentialsLetGDALOpenAnArchiveOfMinIOAndNothingBesideIt(t *testing.T) {
	ogrinfo := testenv.GDAL(t, "ogrinfo")
	testenv.NeedCurl(t)
	testenv.NeedJQ(t)
	page, err := os.ReadFile("../../docs/archives.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile(`(?s)\x60\x60\x60\n((?:[^\x60]*\n)?eval [^\x60]*)ogrinfo [^\n]*(/vsis3/\S+)\n\x60\x60\x60`).FindStringSubmatch(string(page))
	if block == nil {
		t.Fatal("docs/archives.md has no commands for GDAL")
	}
	world, err := worldmap.Archive()
	if err != nil {
		t.Fatal(err)
	}
	minio := testenv.MinIO(t)
	minio.CreateBucket(t, "tiles")
	objects := map[string][]byte{"maps/countries.pmtiles": world, "maps/secret.pmtiles": world, "maps/countries.pmtiles.bak": world, "countries.pmtiles": world}
	minio.Put(t, "tiles", objects)
	config := vendingArchive(t, minio.Endpoint)
	server, _ := start(t, baseCredentials(minio.AccessKey, minio.SecretKey), "serve", "-c", config)
	wantArchiveAlone(t, s3Client(minio.Endpoint, vend(t, server, mintToken(t, config, "--tilesets", "*")).provider()))

	env := []string{
		"TOKEN=" + mintToken(t, config, "--tilesets", "countries"), "HOME=" + t.TempDir(),
		"AWS_REGION=us-east-1", "AWS_S3_ENDPOINT=" + strings.TrimPrefix(minio.Endpoint, "http://"), "AWS_HTTPS=NO", "AWS_VIRTUAL_HOSTING=FALSE",
	}
	asGDAL := func(command string) (string, error) {
		return shell(t, strings.ReplaceAll(block[1], "https://maps.example.com", server.url)+command, env...)
	}
	if block[2] != "/vsis3/acme-private-tiles/countries.pmtiles" {
		t.Errorf("the page opens %s", block[2])
	}
	const archive = "/vsis3/tiles/maps/countries.pmtiles"
	formats, err := asGDAL(ogrinfo + " --formats")
	if err != nil {
		t.Fatalf("ogrinfo --formats: %v\n%s", err, formats)
	}
	if strings.Contains(formats, "PMTiles") {
		if out, err := asGDAL(ogrinfo + " -so " + archive); err != nil || !strings.Contains(out, "countries") || !strings.Contains(out, "names") {
			t.Errorf("ogrinfo %s: %v\n%s", archive, err, out)
		}
	} else {
		t.Log("this GDAL is older than 3.8 and does not read PMTiles: only a tile within the archive is opened")
	}
	// The same bytes, for a GDAL of any version: the one tile of zoom 0, within the archive.
	h, err := pmtiles.ParseHeader(world[:min(len(world), pmtiles.FirstRead)], int64(len(world)))
	if err != nil {
		t.Fatal(err)
	}
	root, err := pmtiles.DecodeDirectory(world[h.Root.Offset:h.Root.End()], h.InternalCompression, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	found, at, err := h.Lookup(root, 0, 1)
	if err != nil || found != pmtiles.Tile {
		t.Fatalf("tile 0/0/0: got %v, %v", found, err)
	}
	tileOf := func(key string) string {
		return fmt.Sprintf("%s MVT:/vsigzip//vsisubfile/%d_%d,/vsis3/tiles/%s", ogrinfo, at.Offset, at.Length, key)
	}
	if out, err := asGDAL(tileOf("maps/countries.pmtiles")); err != nil || !strings.Contains(out, "countries") || !strings.Contains(out, "names") {
		t.Errorf("a tile of the archive: %v\n%s", err, out)
	}
	for key := range objects {
		if out, err := asGDAL(tileOf(key)); key != "maps/countries.pmtiles" && (err == nil || strings.Contains(out, "names")) {
			t.Errorf("GDAL opens %s, which is not granted:\n%s", key, out)
		}
	}
	if log := server.log(); strings.Contains(log, "SecretAccessKey") || strings.Contains(log, "SessionToken") {
		t.Error("vended credentials are in the log")
	}
}
