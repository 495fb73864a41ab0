package origin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"tilegate/internal/tile"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Report is what `tilegate check --online` tells of one source.
type Report struct {
	Source      string
	Credentials string    // where they came from, e.g. AssumeRole arn:aws:iam::123456789012:role/tiles-reader
	Expires     time.Time // zero: never
	Identity    string    // ARN, by GetCallerIdentity; empty where the service doesn't have it
	Object      string    // the key of an object that was read
	Missing     string    // what S3 answers for a key that is not there, and what that means here; empty for files, and where nothing could be read
	Faults      []string  // what does not work, and what to do
}

// Check tries every source: credentials, identity, an object, a missing key. Run must be under way.
// The reports are in the order of the sources' IDs.
func (a *AWS) Check(ctx context.Context) []Report {
	reports := make([]Report, 0, len(a.sources))
	var mu sync.Mutex
	var wg sync.WaitGroup
	places := make(chan struct{}, maxReaching)
	for _, s := range a.sources {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			r := s.check(ctx)
			mu.Lock()
			defer mu.Unlock()
			reports = append(reports, r)
		})
	}
	wg.Wait()
	slices.SortFunc(reports, func(a, b Report) int { return cmp.Compare(a.Source, b.Source) })
	return reports
}

func (s *S3) check(ctx context.Context) Report {
	r := Report{Source: s.ID}
	fail := func(what string) Report {
		r.Faults = append(r.Faults, what)
		return r
	}
	creds, err := s.keeper.first(ctx)
	if err != nil {
		return fail(err.Error())
	}
	r.Credentials = creds.Source
	if creds.CanExpire {
		r.Expires = creds.Expires
	}
	r.Identity = s.aws.identity(ctx, creds)
	canary := s.Key(s.Canary)
	f := s.touch(ctx, canary, creds)
	if f == nil {
		r.Object = canary
	} else if r.Object = s.anyObject(ctx, creds); r.Object == "" {
		fail("no object could be read; " + canary + ": " + f.detail())
	}
	if s.isFile() {
		return r // a session policy has its one key: those beside it are 403 by construction
	}
	switch f := s.touch(ctx, neighbour(canary), creds); {
	case f == nil:
		fail("a random key is answered like an object: is this an S3?")
	case errors.Is(f, tile.ErrMissing):
		r.Missing = "404: s3:ListBucket is there, missing tiles are told from denied ones"
	case f.code == "AccessDenied" && r.Object == "": // and there may be no s3:GetObject
	case f.code == "AccessDenied" && s.Forbid == Ask:
		r.Missing = "403: s3:ListBucket is not there; each missing tile is told from a denied one by two more requests a second at most"
	case f.code == "AccessDenied" && s.Forbid == True:
		r.Missing = "403: s3:ListBucket is not there; missing_on_403 takes every 403 for a missing tile"
	case f.code == "AccessDenied":
		r.Missing = "403: s3:ListBucket is not there; with missing_on_403: false every missing tile is a 502"
	default:
		fail("a missing key: " + f.detail())
	}
	return r
}

// identity is empty where there is no STS to ask: AWS's own knows nothing of another service's users.
func (a *AWS) identity(ctx context.Context, creds credentials) string {
	if a.foreignSTS() {
		return ""
	}
	who, err := a.sts.GetCallerIdentity(signWith(ctx, creds.Credentials), &sts.GetCallerIdentityInput{})
	if err != nil {
		return ""
	}
	return aws.ToString(who.Arn)
}

// anyObject reads one that a listing names, for a tileset without its lowest tile.
func (s *S3) anyObject(ctx context.Context, creds credentials) string {
	if s.isFile() {
		return "" // no other is it
	}
	page, err := s.aws.s3.ListObjectsV2(signWith(ctx, creds.Credentials), &s3.ListObjectsV2Input{Bucket: &s.Bucket, Prefix: &s.Prefix, MaxKeys: aws.Int32(10)})
	if err != nil {
		return ""
	}
	for _, o := range page.Contents {
		if name := aws.ToString(o.Key); !strings.HasSuffix(name, "/") && s.touch(ctx, name, creds) == nil {
			return name
		}
	}
	return ""
}
