package origin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Report is what `tilegate check --online` prints of one source.
type Report struct {
	Source      string
	Credentials string    // where they came from, e.g. AssumeRole arn:aws:iam::123456789012:role/tiles-reader
	Expires     time.Time // zero: never
	Identity    string    // the ARN that GetCallerIdentity returns; empty where the service does not have this call
	Object      string    // the key of an object that was read
	Missing     string    // what S3 answers for a key that does not exist, and what follows from it; empty for files, and where nothing could be read
	Faults      []string  // what does not work, and what to do about it
	Notes       []string  // what is worth knowing besides

	Zooms []uint8    // the zooms that the bucket has, where a listing tells
	Tiles []tile.Key // some of its tiles, of the deepest of Zooms where they are known
}

// Check tries every source: credentials, identity, an object, a missing key. Run must be under way. The
// reports are sorted by source. examine says why an object cannot be served, and closes it; nil examines nothing.
func (a *AWS) Check(ctx context.Context, examine func(ctx context.Context, source string, o *tile.Object) error) []Report {
	reports := make([]Report, 0, len(a.sources))
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, maxStartProbes)
	for _, s := range a.sources {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			r := s.check(ctx, examine)
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, r)
		})
	}
	wg.Wait()
	slices.SortFunc(reports, func(a, b Report) int { return cmp.Compare(a.Source, b.Source) })
	return reports
}

func (s *S3) check(ctx context.Context, examine func(context.Context, string, *tile.Object) error) Report {
	r := Report{Source: s.ID}
	fail := func(what string) Report {
		r.Faults = append(r.Faults, what)
		return r
	}
	creds, err := s.credentials.RetrieveLate(ctx)
	if err != nil {
		return fail(err.Error())
	}
	r.Credentials = creds.Source
	if creds.CanExpire {
		r.Expires = creds.Expires
	}
	r.Identity = s.store.identity(ctx, creds)
	canary := s.Key(s.Canary)
	f := s.probe(ctx, canary, creds)
	var none string
	if s.isBundle() {
		// No object is no fault: the bundle may hold nothing yet, or not be listed.
		if r.Object, none = s.findObject(ctx, creds); r.Object == "" {
			r.Notes = append(r.Notes, "nothing was read: "+none)
		}
	} else if f == nil {
		r.Object = canary
	} else if r.Object, none = s.findObject(ctx, creds); r.Object == "" {
		fail("no object could be read; " + canary + ": " + f.detail() + none)
	}
	if r.Object != "" && s.Match != nil {
		r.Zooms, r.Tiles = s.survey(ctx, creds)
	}
	if r.Object != "" && !s.Archive { // whoever calls examines archives, by their parts
		// A probe asks for one byte. This is what serving asks for.
		object, err := s.get(ctx, request{name: r.Object, trial: true})
		switch {
		case err != nil:
			fail(err.Error())
		case examine == nil || s.isOneObject():
			_ = object.Body.Close()
		default:
			object.Reject = nil
			if err := examine(ctx, s.ID, object); err != nil {
				fail(r.Object + ": " + err.Error())
			}
		}
	}
	if s.isOneObject() {
		return r // a session policy allows its one key, so that every other key is a 403
	}
	switch f := s.probe(ctx, randomSibling(canary), creds); {
	case f == nil:
		fail("a random key is answered like an object: is this an S3?")
	case errors.Is(f, tile.ErrMissing):
		r.Missing = "404: s3:ListBucket is there, missing tiles are told from denied ones"
	case f.code == "AccessDenied" && r.Object == "": // s3:GetObject may be denied, too
	case f.code == "AccessDenied" && s.MissingOn403 == Auto:
		r.Missing = "403: s3:ListBucket is not there; each missing tile is told from a denied one by two more requests a second at most"
	case f.code == "AccessDenied" && s.MissingOn403 == Always:
		r.Missing = "403: s3:ListBucket is not there; missing_on_403 takes every 403 for a missing tile"
	case f.code == "AccessDenied":
		r.Missing = "403: s3:ListBucket is not there; with missing_on_403: false every missing tile is a 502"
	default:
		fail("a missing key: " + f.detail())
	}
	return r
}

// identity returns the ARN that the credentials stand for; empty where no STS can tell.
func (st *store) identity(ctx context.Context, creds credentials) string {
	if st.lacksSTS() || creds.anonymous {
		return ""
	}
	who, err := st.sts.GetCallerIdentity(withCredentials(ctx, creds.Credentials), &sts.GetCallerIdentityInput{})
	if err != nil {
		return ""
	}
	return aws.ToString(who.Arn)
}

// maxTried bounds the objects that Check tries to read.
const maxTried = 10

// findObject returns the key of an object that a listing names, that is a tile by its key, and that can be read. It is for
// tilesets without the tile that Canary names, and for bundles. Without one, it says why.
func (s *S3) findObject(ctx context.Context, creds credentials) (key, none string) {
	if s.isOneObject() {
		return "", "" // no other object will do
	}
	names, _, err := s.list(ctx, creds, s.Prefix, "")
	switch {
	case err != nil && s.isBundle():
		return "", "its objects cannot be listed, which needs s3:ListBucket: " + classify(ctx, err).detail()
	case err != nil:
		return "", ""
	case len(names) == 0 && s.isBundle():
		return "", "there is no object under " + s.Prefix
	}
	tried := 0
	for _, name := range names {
		if s.Match != nil {
			if _, ok := s.Match(name); !ok {
				continue
			}
		}
		if tried++; tried > maxTried {
			break
		}
		if s.probe(ctx, name, creds) == nil {
			return name, ""
		}
	}
	switch {
	case tried == 0 && len(names) > 0:
		return "", "; the bucket has " + strconv.Quote(names[0]) + ", which the source does not name: correct its path or extension"
	case s.isBundle():
		return "", "the objects under " + s.Prefix + " cannot be read"
	}
	return "", ""
}

// list returns the keys under a prefix, 1,000 at most, without those of folders; with a delimiter, the prefixes up to it.
func (s *S3) list(ctx context.Context, creds credentials, prefix, delimiter string) (keys, prefixes []string, err error) {
	in := &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &prefix, RequestPayer: s.store.payer()}
	if delimiter != "" {
		in.Delimiter = &delimiter
	}
	page, err := s.store.s3.ListObjectsV2(withCredentials(ctx, creds.Credentials), in)
	if err != nil {
		return nil, nil, err
	}
	for _, o := range page.Contents {
		if name := aws.ToString(o.Key); !strings.HasSuffix(name, "/") {
			keys = append(keys, name)
		}
	}
	for _, p := range page.CommonPrefixes {
		prefixes = append(prefixes, aws.ToString(p.Prefix))
	}
	return keys, prefixes, nil
}

// survey lists the zooms that the bucket has, and some tiles of the deepest. What cannot be listed is left out.
func (s *S3) survey(ctx context.Context, creds credentials) (zooms []uint8, tiles []tile.Key) {
	prefix := s.Prefix
	if s.ZoomFolder != nil && s.ZoomFolder(0) != "" {
		if _, folders, err := s.list(ctx, creds, prefix, "/"); err == nil {
			for z := range uint8(tile.MaxZoom + 1) {
				if folder := s.ZoomFolder(z); slices.Contains(folders, folder) {
					zooms, prefix = append(zooms, z), folder
				}
			}
		}
	}
	names, _, err := s.list(ctx, creds, prefix, "")
	if err != nil {
		return zooms, nil
	}
	for _, name := range names {
		if k, ok := s.Match(name); ok {
			tiles = append(tiles, k)
		}
	}
	return zooms, tiles
}
