package fakeaws_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tilegate/internal/bubble"
	"tilegate/internal/fakeaws"
)

// TestInABubble lets an hour pass for the SDK's signer and the server alike.
func TestInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := bubble.NewNetwork()
		server := start(t, func(o *fakeaws.Options) { o.Listener = network })
		transport := &http.Transport{DialContext: network.DialContext, DisableKeepAlives: true}
		viaMemory := &http.Client{Transport: transport}
		out, err := stsClient(server, static(userKey, userSecret, "")).AssumeRole(t.Context(),
			&sts.AssumeRoleInput{RoleArn: aws.String(roleARN), RoleSessionName: aws.String("test")},
			func(o *sts.Options) { o.HTTPClient = viaMemory })
		must(t, err)
		client := s3Client(server, static(*out.Credentials.AccessKeyId, *out.Credentials.SecretAccessKey, *out.Credentials.SessionToken),
			func(o *s3.Options) { o.HTTPClient = viaMemory })

		server.Inject(fakeaws.Fault{Delay: 59 * time.Minute, Times: 1})
		began := time.Now()
		_, err = get(t.Context(), client, "tiles", tile)
		must(t, err)
		if took := time.Since(began); took != 59*time.Minute {
			t.Errorf("took %v of the bubble's time, want 59m", took)
		}
		<-time.After(time.Minute)
		_, err = get(t.Context(), client, "tiles", tile)
		wantRefusal(t, err, http.StatusBadRequest, "ExpiredToken")
	})
}
