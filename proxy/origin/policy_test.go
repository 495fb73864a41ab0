package origin_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"tilegate/internal/fakeaws"
	"tilegate/internal/tile"
	"tilegate/proxy/origin"
)

// source returns a source of a bucket and prefix, whose role is scoped down.
func source(id, bucket, prefix string) origin.Source {
	return origin.Source{ID: id, Bucket: bucket, Prefix: prefix, Key: keyOf(prefix), Role: origin.Role{ARN: roleARN, ScopeDown: true}}
}

func sources(s ...origin.Source) change {
	return func(_ *fakeaws.Role, o *origin.Options) { o.Sources = s }
}

// sentPolicy is the session policy of the first AssumeRole.
func (w *world) sentPolicy(t *testing.T) string {
	t.Helper()
	for _, r := range w.Requests() {
		if r.Op == "AssumeRole" {
			return r.Form.Get("Policy")
		}
	}
	t.Fatal("nobody called AssumeRole")
	return ""
}

func TestSessionPolicy(t *testing.T) {
	const list = `{"Effect":"Allow","Action":"s3:ListBucket","Resource":[%s]}`
	const read = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":[%s]},`
	for name, tc := range map[string]struct {
		sources []origin.Source
		want    string
	}{
		"one": {
			[]origin.Source{source("base", "tiles", "base/")},
			fmt.Sprintf(read+list+"]}", `"arn:aws:s3:::tiles/base/*"`, `"arn:aws:s3:::tiles"`),
		},
		"many, some within others": {
			[]origin.Source{source("base", "tiles", "b/"), source("c", "more", "x/"), source("inner", "tiles", "b/inner/"), source("file:f", "more", "doc.pdf"), source("again", "tiles", "b/")},
			fmt.Sprintf(read+list+"]}", `"arn:aws:s3:::more/doc.pdf","arn:aws:s3:::more/x/*","arn:aws:s3:::tiles/b/*"`, `"arn:aws:s3:::more","arn:aws:s3:::tiles"`),
		},
		"archives": {
			[]origin.Source{archiveSource("roads", "roads.pmtiles"), archiveSource("wild", "r*ads.pmtiles"), source("again", "tiles", "roads.pmtiles/")},
			fmt.Sprintf(read+list+"]}", `"arn:aws:s3:::tiles/r${*}ads.pmtiles","arn:aws:s3:::tiles/roads.pmtiles","arn:aws:s3:::tiles/roads.pmtiles/*"`, `"arn:aws:s3:::tiles"`),
		},
		"at the root of the bucket": {
			[]origin.Source{source("base", "tiles", "")},
			fmt.Sprintf(read+list+"]}", `"arn:aws:s3:::tiles/*"`, `"arn:aws:s3:::tiles"`),
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, w *world) {
				w.waitAssumed(t)
				if got := w.sentPolicy(t); got != tc.want {
					t.Errorf("got  %s\nwant %s", got, tc.want)
				}
			}, sources(tc.sources...))
		})
	}
}

func TestPolicyOnAWSNamesKMSAndThePartition(t *testing.T) {
	const arn = "arn:aws-us-gov:iam::123456789012:role/tiles-reader"
	inBubble(t, func(t *testing.T, w *world) {
		w.waitAssumed(t)
		want := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:GetObject","Resource":["arn:aws-us-gov:s3:::tiles/base/*"]},` +
			`{"Effect":"Allow","Action":"s3:ListBucket","Resource":["arn:aws-us-gov:s3:::tiles"]},` +
			`{"Effect":"Allow","Action":"kms:Decrypt","Resource":["*"],"Condition":{"StringLike":{"kms:ViaService":["s3.*"]}}}]}`
		if got := w.sentPolicy(t); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}, func(r *fakeaws.Role, o *origin.Options) {
		r.ARN = arn
		o.Endpoint = "" // AWS's own S3; the dialler leads elsewhere
		o.Sources[0].Role = origin.Role{ARN: arn, ScopeDown: true}
	})
}

func TestScopedDownCredentialsReadNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Put("tiles", "secret/1/0/1.png", fakeaws.Object{Body: []byte("x")})
		w.mustFetch(t)
		if _, _, err := read(w.origin.Source("other").Fetch(t.Context(), tile101, tile.Condition{})); err != nil {
			t.Errorf("a source of the same role: %v", err)
		}
		if _, _, err := w.fetch(t.Context(), absent, tile.Condition{}); !errors.Is(err, tile.ErrMissing) || w.Count("GetObject", "tiles", "base/7/66/44.png") != 1 {
			t.Errorf("a missing tile: %v", err)
		}
		_, _, err := read(w.origin.Source("escape").Fetch(t.Context(), tile101, tile.Condition{}))
		if !errors.Is(err, tile.ErrDenied) {
			t.Errorf("a key outside every source's prefix: %v", err)
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		escape := source("escape", "tiles", "base/")
		escape.Key = keyOf("secret/")
		o.Sources = []origin.Source{source("base", "tiles", "base/"), source("other", "tiles", "base/"), escape}
	})
}

func TestPolicyThatIsTooLongIsRefusedAtStart(t *testing.T) {
	opt := origin.Options{Store: origin.Store{Region: "us-east-1", Base: static("A", "B")}}
	for i := range 40 {
		opt.Sources = append(opt.Sources, source(fmt.Sprintf("t%02d", i), "tiles", strings.Repeat("long", 10)+fmt.Sprint(i)+"/"))
	}
	_, err := origin.New(t.Context(), opt)
	if err == nil || !strings.Contains(err.Error(), "of 2048 that AWS allows") || !strings.Contains(err.Error(), "longest prefix is s3://tiles/longlong") {
		t.Errorf("got %v", err)
	}
	for i := range opt.Sources {
		opt.Sources[i].Role.ScopeDown = false
	}
	if _, err := origin.New(t.Context(), opt); err != nil {
		t.Errorf("without scope_down: %v", err)
	}
}

func TestPackedPolicyTooLargeIsExplained(t *testing.T) {
	inBubble(t, func(t *testing.T, w *world) {
		w.Inject(fakeaws.Fault{Op: "AssumeRole", Status: 400, Code: "PackedPolicyTooLarge"})
		w.restart(t)
		if text := w.mustFail(t, tile.ErrNoCredentials); !strings.Contains(text, "shorten prefixes") {
			t.Errorf("got %q", text)
		}
	}, sources(source("base", "tiles", "base/")))
}

func TestFaultsInTheOptionsAreAllTold(t *testing.T) {
	_, err := origin.New(t.Context(), origin.Options{
		Store: origin.Store{Base: static("A", "B")}, PresignExpires: 5 * 60e9, PresignWindow: 5 * 60e9,
		Sources: []origin.Source{{ID: "a", Vend: true}, {ID: "a"}},
	})
	if got, want := faultyFields(err), []string{"Region", "PresignExpires", "a Vend", "a Literals", "a ID"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q: %v", got, want, err)
	}
	_, err = origin.New(t.Context(), origin.Options{
		Store:   origin.Store{Base: static("A", "B"), Endpoint: "http://127.0.0.1:9000"},
		Sources: []origin.Source{{ID: "a", Bucket: "tiles", Role: origin.Role{ARN: roleARN}}, {ID: "b", Bucket: "tiles", Role: origin.Role{ARN: roleARN}}},
	})
	if got := faultyFields(err); !slices.Equal(got, []string{"STSEndpoint"}) {
		t.Errorf("a role on a custom endpoint: got %q, %v", got, err)
	}
	_, err = origin.New(t.Context(), origin.Options{Store: origin.Store{Region: "us-east-1", Base: static("A", "B")}, Sources: []origin.Source{{ID: "a", Bucket: "tiles--use1-az4--x-s3"}, {ID: "b", Bucket: "tiles"}}})
	if got := faultyFields(err); !slices.Equal(got, []string{"a Bucket"}) {
		t.Errorf("a directory bucket: got %q, %v", got, err)
	}
}

// faultyFields lists what an error of origin.New is about: a field of the options, or a source's ID and its field.
func faultyFields(err error) (fields []string) {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return nil
	}
	for _, err := range joined.Unwrap() {
		var option *origin.OptionError
		var source *origin.SourceError
		switch {
		case errors.As(err, &option):
			fields = append(fields, option.Field)
		case errors.As(err, &source):
			fields = append(fields, source.ID+" "+source.Field)
		default:
			fields = append(fields, err.Error())
		}
	}
	return fields
}

func TestRolesOfTheirOwn(t *testing.T) {
	const other = "arn:aws:iam::999999999999:role/tiles-reader"
	inBubble(t, func(t *testing.T, w *world) {
		if err := w.AddRole(fakeaws.Role{ARN: other, Policy: readAndList, TrustedUsers: []string{"*"}}); err != nil {
			t.Fatal(err)
		}
		w.stop() // STS may have been asked for it before
		synctest.Wait()
		w.ResetRequests()
		w.restart(t)
		w.mustFetch(t)
		w.mustFetch(t)
		for _, id := range []string{"theirs", "theirs too", "plain"} {
			if _, _, err := read(w.origin.Source(id).Fetch(t.Context(), tile101, tile.Condition{})); err != nil {
				t.Errorf("%s: %v", id, err)
			}
		}
		synctest.Wait() // for the probes at start
		var names, keys []string
		for _, c := range w.origin.Credentials() {
			names = append(names, c.Name)
		}
		for _, r := range w.Requests() {
			if r.Op == "GetObject" && !slices.Contains(keys, r.AccessKeyID) {
				keys = append(keys, r.AccessKeyID)
			}
		}
		slices.Sort(names)
		if want := []string{"default credential chain", "role tiles-reader", "role tiles-reader (2)"}; !slices.Equal(names, want) {
			t.Errorf("credentials: got %q, want %q", names, want)
		}
		if len(keys) != 3 {
			t.Errorf("S3 saw the keys %q, want one for each role and the user's own", keys)
		}
		if w.assumed() != 2 {
			t.Errorf("%d calls of AssumeRole for two roles", w.assumed())
		}
	}, func(_ *fakeaws.Role, o *origin.Options) {
		theirs := origin.Source{ID: "theirs", Bucket: "tiles", Prefix: "base/", Key: keyOf("base/"), Role: origin.Role{ARN: other}}
		too, plain := theirs, theirs
		too.ID, plain.ID, plain.Role = "theirs too", "plain", origin.Role{}
		o.Sources = append(o.Sources, theirs, too, plain)
	})
}
