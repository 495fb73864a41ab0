package origin_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// vending configures two tilesets for which credentials are vended, and others.
func vending(_ *fakeaws.Role, o *origin.Options) {
	for i, id := range []string{"base", "roads", "private", "elsewhere"} {
		s := origin.Source{ID: id, Bucket: "tiles", Prefix: id + "/", Literals: literalsOf(id + "/"), Key: keyOf(id + "/"), Role: origin.Role{ARN: roleARN}, Vend: id != "private"}
		if id == "elsewhere" {
			s.Role.ARN = "arn:aws:iam::999999999999:role/other"
		}
		o.Sources = append(o.Sources[:i:i], s)
	}
}

// literalsOf returns the literal parts of keyOf's keys.
func literalsOf(prefix string) []string { return []string{prefix, "/", "/", ".png"} }

// as returns an S3 client with a caller's vended credentials.
func (w *world) as(v origin.Vended) *s3.Client {
	return s3.New(s3.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(w.URL()), UsePathStyle: true, Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{Transport: &http.Transport{DialContext: w.opt.Dial, DisableKeepAlives: true}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: v.AccessKeyID, SecretAccessKey: v.SecretAccessKey, SessionToken: v.SessionToken}, nil
		}),
	})
}

func TestVendedCredentialsReadTheGrantedTilesetsAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Put("tiles", "roads/1/0/1.png", fakeaws.Object{Body: content(2)})
		w.Put("tiles", "private/1/0/1.png", fakeaws.Object{Body: content(3)})
		v, err := w.origin.Vend(t.Context(), "ada@example.com", []string{"base", "roads"}, 20*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(v.Expires); left != 20*time.Minute {
			t.Errorf("they live %s", left)
		}
		client := w.as(v)
		get := func(key string) error {
			out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("tiles"), Key: &key})
			if err == nil {
				_ = out.Body.Close()
			}
			return err
		}
		list := func(prefix *string) error {
			_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("tiles"), Prefix: prefix})
			return err
		}
		for name, tc := range map[string]struct {
			do      func() error
			allowed bool
		}{
			"granted":                  {func() error { return get("base/1/0/1.png") }, true},
			"also granted":             {func() error { return get("roads/1/0/1.png") }, true},
			"not granted":              {func() error { return get("private/1/0/1.png") }, false},
			"not granted, not there":   {func() error { return get("private/9/9/9.png") }, false},
			"its list":                 {func() error { return list(aws.String("base/")) }, true},
			"another's list":           {func() error { return list(aws.String("private/")) }, false},
			"the list of the bucket":   {func() error { return list(nil) }, false},
			"the list of a wider part": {func() error { return list(aws.String("")) }, false},
		} {
			if err := tc.do(); (err == nil) != tc.allowed {
				t.Errorf("%s: %v", name, err)
			}
		}
		if n := w.Count("AssumeRole", "", ""); n < 1 {
			t.Error("no AssumeRole")
		}
		var names []string
		for _, r := range w.Requests() {
			if r.Op == "GetObject" && strings.HasSuffix(r.Principal, "/ada@example.com") {
				names = append(names, r.Principal)
			}
		}
		if len(names) == 0 {
			t.Error("the session is not named after the subject")
		}
		pass(21 * time.Minute)
		if get("base/1/0/1.png") == nil {
			t.Error("they work after their expiry")
		}
	}, vending)
}

// In IAM, * matches slashes, too. So a policy for a prefix alone would allow everything below it.
func TestVendedCredentialsReadNothingBesideTheirTileset(t *testing.T) {
	role := origin.Role{ARN: roleARN}
	public := origin.Source{
		ID: "public", Bucket: "vmix", Literals: []string{"", "/public/", "/", ".png"}, Vend: true, Role: role,
		Key: func(k tile.Key) string { return fmt.Sprintf("%d/public/%d/%d.png", k.Z, k.X, k.Y) },
	}
	base := origin.Source{ID: "base", Bucket: "vmix", Prefix: "base/", Literals: literalsOf("base/"), Overlaps: []string{"hires"}, Key: keyOf("base/"), Vend: true, Role: role}
	hires := origin.Source{ID: "hires", Bucket: "vmix", Prefix: "base/hires/", Literals: literalsOf("base/hires/"), Key: keyOf("base/hires/"), Vend: true, Role: role}
	inBubble(t, func(t *testing.T, w *world) {
		for _, key := range []string{"1/public/0/1.png", "1/secret/0/1.png", "base/1/0/1.png", "base/hires/1/0/1.png", "base/1/0/1.json", "report.pdf"} {
			w.Put("vmix", key, fakeaws.Object{Body: content(2)})
		}
		for _, tc := range []struct {
			name          string
			ids           []string
			opens, listed []string // all of the bucket that can be had
		}{
			{"names behind the zoom", []string{"public"}, []string{"1/public/0/1.png"}, nil},
			{"beneath another", []string{"hires"}, []string{"base/hires/1/0/1.png"}, []string{"base/hires/"}},
			{"both of them", []string{"base", "hires"}, []string{"base/1/0/1.png", "base/hires/1/0/1.png"}, []string{"base/", "base/hires/"}},
			{"all", []string{"public", "base", "hires"}, []string{"1/public/0/1.png", "base/1/0/1.png", "base/hires/1/0/1.png"}, []string{"base/", "base/hires/"}},
		} {
			v, err := w.origin.Vend(t.Context(), "ada", tc.ids, time.Hour)
			if err != nil {
				t.Errorf("%s: %v", tc.name, err)
				continue
			}
			wantOpen(t, tc.name, w.as(v), tc.opens, tc.listed)
		}
		_, err := w.origin.Vend(t.Context(), "ada", []string{"public", "base"}, time.Hour)
		if !errors.Is(err, origin.ErrCannotVend) || !strings.Contains(err.Error(), "base without hires: a policy for s3://vmix/base/*/*/*.png allows keys of both") {
			t.Errorf("one that opens the other: got %v", err)
		}
	}, sources(base, public, hires))
}

// wantOpen checks that exactly these objects of the bucket vmix can be read, and these prefixes listed.
func wantOpen(t *testing.T, name string, client *s3.Client, opens, listed []string) {
	t.Helper()
	for _, key := range []string{"1/public/0/1.png", "1/secret/0/1.png", "base/1/0/1.png", "base/hires/1/0/1.png", "base/1/0/1.json", "report.pdf"} {
		out, err := client.GetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("vmix"), Key: &key})
		if err == nil {
			_ = out.Body.Close()
		}
		if (err == nil) != slices.Contains(opens, key) {
			t.Errorf("%s: %s: %v", name, key, err)
		}
	}
	for _, prefix := range []string{"", "1/", "base/", "base/hires/"} {
		_, err := client.ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: aws.String("vmix"), Prefix: &prefix})
		if (err == nil) != slices.Contains(listed, prefix) {
			t.Errorf("%s: list %q: %v", name, prefix, err)
		}
	}
}

func TestVendRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		for name, tc := range map[string]struct {
			ids  []string
			d    time.Duration
			want error
			says string
		}{
			"a tileset that doesn't vend": {[]string{"base", "private"}, time.Hour, origin.ErrCannotVend, `"private"`},
			"an unknown tileset":          {[]string{"nowhere"}, time.Hour, origin.ErrCannotVend, `"nowhere"`},
			"a bundle":                    {[]string{"bundle:carto"}, time.Hour, origin.ErrCannotVend, `"bundle:carto"`},
			"a tileset in a bundle":       {[]string{"roads", "within"}, time.Hour, origin.ErrCannotVend, "bundle:carto"},
			"nothing":                     {nil, time.Hour, origin.ErrCannotVend, "nothing"},
			"a life under STS's least":    {[]string{"base"}, 14 * time.Minute, origin.ErrCannotVend, "15m0s"},
			"two roles":                   {[]string{"base", "elsewhere"}, time.Hour, origin.ErrCannotVend, "different roles"},
		} {
			if _, err := w.origin.Vend(t.Context(), "ada", tc.ids, tc.d); !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		defer w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: http.StatusForbidden, Code: "AccessDenied"})()
		if _, err := w.origin.Vend(t.Context(), "ada", []string{"base"}, time.Hour); !errors.Is(err, tile.ErrNoCredentials) {
			t.Errorf("STS refuses: got %v", err)
		}
	}, vending, func(_ *fakeaws.Role, o *origin.Options) {
		within := o.Sources[1]
		within.ID, within.Prefix, within.Literals, within.Key = "within", "carto/tiles/", literalsOf("carto/tiles/"), keyOf("carto/tiles/")
		within.Overlaps = []string{"bundle:carto"}
		o.Sources = append(o.Sources, within, origin.Source{
			ID: "bundle:carto", Bucket: "tiles", Prefix: "carto/", Key: func(k tile.Key) string { return "carto/" + k.Path }, Role: within.Role,
		})
	})
}

// How STS packs a policy cannot be computed here, and another call does not make it fit.
func TestTooManyTilesetsForSTS(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.waitAssumed(t)
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: http.StatusBadRequest, Code: "PackedPolicyTooLarge"})
		_, err := w.origin.Vend(t.Context(), "ada", []string{"base", "roads"}, time.Hour)
		if !errors.Is(err, origin.ErrCannotVend) || errors.Is(err, tile.ErrNoCredentials) || !strings.Contains(err.Error(), "for 2 tilesets at once") {
			t.Errorf("got %v", err)
		}
	}, vending)
}

func TestTooManyTilesetsForOnePolicy(t *testing.T) {
	var ids []string
	inBubble(t, func(t *testing.T, w *world) {
		if _, err := w.origin.Vend(t.Context(), "ada", ids, time.Hour); !errors.Is(err, origin.ErrCannotVend) {
			t.Errorf("got %v", err)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		ids = nil
		for i := range 60 {
			s := origin.Source{ID: fmt.Sprintf("t%d", i), Bucket: "tiles", Prefix: fmt.Sprintf("tilesets/%d/", i), Key: keyOf(""), Role: origin.Role{ARN: roleARN}, Vend: true}
			s.Literals = literalsOf(s.Prefix)
			o.Sources = append(o.Sources, s)
			ids = append(ids, s.ID)
		}
	})
}

func TestVendedLifeIsAnHourAtMost(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		v, err := w.origin.Vend(t.Context(), "ada", []string{"base"}, 11*time.Hour)
		if err != nil || time.Until(v.Expires) != time.Hour {
			t.Errorf("they live %s, error %v", time.Until(v.Expires), err)
		}
	}, vending)
}

// A corrected clock makes fractions of a second, which not every reader of credential_process understands.
func TestVendedLifeEndsAtAWholeSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := startSkewed(t, 40*time.Minute, vending)
		w.mustFetch(t)
		pass(300 * time.Millisecond)
		v, err := w.origin.Vend(t.Context(), "ada", []string{"base"}, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if left := time.Until(v.Expires); v.Expires.Nanosecond() != 0 || left > time.Hour || left < 59*time.Minute {
			t.Errorf("they end at %s, in %s", v.Expires, left)
		}
	})
}

// A token may hold any subject. STS and CloudTrail need an allowed name, different for each subject.
func TestForgedSubjectBecomesAHarmlessSessionName(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		allowed := regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
		seen := map[string]string{}
		for _, subject := range []string{
			"ada", "ada@example.com", "auth0|1234", "auth0/1234", "", "x", strings.Repeat("long", 40), strings.Repeat("long", 41),
			"новый", "a b\r\nX-Evil: 1", "tilegate&Policy=%7B%7D",
		} {
			w.ResetRequests()
			if _, err := w.origin.Vend(t.Context(), subject, []string{"base"}, time.Hour); err != nil {
				t.Fatalf("%q: %v", subject, err)
			}
			var name string
			for _, r := range w.Requests() {
				if r.Op == "AssumeRole" && r.Form.Get("RoleSessionName") != "tilegate" {
					name = r.Form.Get("RoleSessionName")
				}
			}
			if !allowed.MatchString(name) {
				t.Errorf("%q became %q", subject, name)
			}
			if other, taken := seen[name]; taken {
				t.Errorf("%q and %q both became %q", subject, other, name)
			}
			seen[name] = subject
		}
		if seen["ada"] != "ada" || seen["ada@example.com"] != "ada@example.com" {
			t.Errorf("an allowed subject was changed: %q", seen)
		}
	}, vending)
}
